#!/usr/bin/env bash
# faiss-cpu 1.15.1, IndexHNSWFlat with a selector that lets few vectors through.
# Expected: ten are asked for and a hundred are allowed, so ten come, if not always the best ten.
# Seen: the walk through the graph ends when its candidates do; of those only the allowed ones count. At efSearch 64 a
#   third of the places is -1 where one vector in 200 is allowed, and nearly all are where one in 2,000 is.
# Why it matters: "only this folder" finds nothing although the folder holds the answer. Below a share of allowed vectors
#   an exact scan of them is both right and quicker.
# Source: faiss/impl/HNSW.cpp (`search_from_candidates`) and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import faiss
import numpy as np

random = np.random.default_rng(0)
vectors = random.standard_normal((20_000, 32)).astype("f4")
asked = vectors[:200] + 0.3 * random.standard_normal((200, 32)).astype("f4")
graph = faiss.IndexHNSWFlat(32, 16)
graph.add(vectors)
filled = {}
for step in (2, 200, 2_000):
    allowed = faiss.IDSelectorBatch(np.arange(0, 20_000, step))
    found = graph.search(asked, 10, params=faiss.SearchParametersHNSW(sel=allowed, efSearch=64))[1]
    filled[step] = round(float((found >= 0).mean()), 2)
    print(f"{20_000 // step:6} of 20,000 allowed, ten asked for: {filled[step]:.0%} of the places filled")
assert filled[2] == 1.0 and filled[200] < 0.9 and filled[2_000] < 0.5
print("as described")
PY
