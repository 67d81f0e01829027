#!/usr/bin/env bash
# llama-index-core 0.14.25: `refresh_ref_docs` over a folder read with `SimpleDirectoryReader(filename_as_id=True)`.
# Expected: a file is embedded again where its text changed. Its dates are not embedded (the reader lists them as left
#   out), so a copy of the folder, or a checkout of the same text, costs nothing.
# Seen: `Document.hash`, which decides, covers all metadata, and the reader puts `last_modified_date` into it. A file that
#   was only touched is changed: its nodes are deleted and embedded anew.
# Why it matters: who fetches a repository or restores a backup each night embeds everything each night. Take the dates
#   out of `metadata`, or give documents a hash of their own.
# Source: `Document.hash` in llama_index/core/schema.py, `default_file_metadata_func` in readers/file/base.py, the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import os
import pathlib
import time

from llama_index.core import MockEmbedding, SimpleDirectoryReader, VectorStoreIndex

embedded = 0


class Counting(MockEmbedding):
    def _get_text_embeddings(self, texts):
        global embedded
        embedded += len(texts)
        return super()._get_text_embeddings(texts)


pathlib.Path("docs").mkdir()
file = pathlib.Path("docs/leave.txt")
file.write_text("Annual leave is 25 days.")


def read():
    return SimpleDirectoryReader("docs", filename_as_id=True).load_data()


first = read()
index = VectorStoreIndex.from_documents(first, embed_model=Counting(embed_dim=4))
assert "last_modified_date" in first[0].excluded_embed_metadata_keys
embedded = 0
print("read again:", index.refresh_ref_docs(read()), "texts embedded:", embedded)
assert embedded == 0
earlier = time.time() - 3 * 86_400
os.utime(file, (earlier, earlier))
print("touched:", index.refresh_ref_docs(read()), "texts embedded:", embedded)
assert embedded == 1
print("as described")
PY
