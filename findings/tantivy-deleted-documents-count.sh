#!/usr/bin/env bash
# tantivy 0.27.0 (Python): BM25 after documents were deleted and the deletion committed.
# Expected: 99 of 100 documents with a word are gone, so the word is rare and the last one scores as in an index that
#   never held the others.
# Seen: the deleted ones are not found and `num_docs` does not count them, but document frequencies and their total do,
#   until their segment is merged, for which deletions alone are no reason: 2.30 instead of 6.40.
# Why it matters: an index that is kept in step with files that change daily drifts: words of much edited files weigh
#   less and less, and two indexes of the same documents rank differently.
# Source: tantivy's segment reader (`doc_freq`: "does not take deleted documents in account") and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tantivy==0.27.0
"$folder/venv/bin/python" - <<'PY'
import tantivy


def made(numbers, gone=()):
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="whitespace")
    builder.add_integer_field("id", indexed=True)
    index = tantivy.Index(builder.build())
    writer = index.writer(num_threads=1)
    for n in numbers:
        writer.add_document(tantivy.Document(body="rare common" if n < 100 else "common other", id=n))
    writer.commit()
    for n in gone:
        writer.delete_documents_by_term("id", n)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()
    hits = searcher.search(index.parse_query("rare", ["body"]), 10).hits
    return searcher.num_docs, [round(score, 2) for score, _ in hits]


after, fresh = made(range(1000), range(1, 100)), made([0, *range(100, 1000)])
print("after deletions: documents, scores", *after)
print("never there:     documents, scores", *fresh)
assert after[0] == fresh[0] == 901 and len(after[1]) == len(fresh[1]) == 1
assert after[1][0] < fresh[1][0] / 2
print("as described")
PY
