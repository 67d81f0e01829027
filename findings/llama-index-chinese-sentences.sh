#!/usr/bin/env bash
# llama-index-core 0.14.25, SentenceWindowNodeParser on Chinese.
# Expected: a node a sentence, with its neighbours as the window; 。！？ end sentences.
# Seen: a paragraph of any length is one node and its own window: sentences are cut by NLTK's English model, which
#   knows ASCII marks followed by a space. A number with a full stop and a space in it is where it does cut.
# Why it matters: "small to big" retrieval becomes big to big in Chinese: each vector stands for a whole paragraph,
#   and what lies beyond the embedder's limit is cut off. Give the parser a `sentence_splitter` of your own.
# Source: llama_index/core/node_parser/text/utils.py (`split_by_sentence_tokenizer`) and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25
"$folder/venv/bin/python" - <<'PY'
from llama_index.core import Document
from llama_index.core.node_parser import SentenceWindowNodeParser

texts = {
    "English": "Staff have five days of leave. After ten years it is ten days! Who approves it? The head of department.",
    "Chinese": "员工每年享有五天年休假。工龄满十年的享有十天！由谁批准？由部门负责人批准。" * 20,
}
nodes = {}
for name, text in texts.items():
    nodes[name] = SentenceWindowNodeParser.from_defaults(window_size=1).get_nodes_from_documents([Document(text=text)])
    print(f"{name}: {len(nodes[name])} nodes, the longest of {max(len(node.text) for node in nodes[name])} characters")
assert len(nodes["English"]) == 4 and len(nodes["Chinese"]) == 1
print("as described")
PY
