#!/usr/bin/env bash
# tantivy 0.27.0 (Python), the tokenizer `whitespace`: a token of more than 65,530 bytes.
# Expected: it is indexed like any other, or cut, or refused with an error.
# Seen: the document is taken and counted, its other words are found, and this token is not there. Nothing says so.
# Why it matters: a base64 block, a number of a hundred thousand digits or a Chinese text without a space is one
#   token; whoever hands tantivy tokens of their own has to bound them, in bytes of UTF-8, on both sides.
# Source: tantivy's postings (`MAX_TOKEN_LEN`),
#   https://docs.rs/tantivy/latest/tantivy/tokenizer/constant.MAX_TOKEN_LEN.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tantivy==0.27.0
"$folder/venv/bin/python" - <<'PY'
import tantivy

schema = tantivy.SchemaBuilder().add_text_field("body", tokenizer_name="whitespace").build()
index = tantivy.Index(schema)
writer = index.writer()
tokens = {name: text for name, text in (("65,530 letters", "x" * 65_530), ("65,531 letters", "x" * 65_531),
                                        ("21,844 Chinese characters", "年" * 21_844))}
for text in tokens.values():
    document = tantivy.Document()
    document.add_text("body", f"first {text} last")
    writer.add_document(document)
writer.commit()
index.reload()
searcher = index.searcher()


def found(term):
    return searcher.search(tantivy.Query.term_query(schema, "body", term), 5).count


print("documents", searcher.num_docs, "with the word behind the token", found("last"))
seen = {name: found(text) for name, text in tokens.items()}
print(seen)
assert (searcher.num_docs, found("last")) == (3, 3)
assert seen == {"65,530 letters": 1, "65,531 letters": 0, "21,844 Chinese characters": 0}
print("as described")
PY
