#!/usr/bin/env bash
# gradio 6.31.0: a class that is derived from a component.
# Expected: importing a module leaves the folder it lies in as it was.
# Seen: the import writes NAME.pyi beside NAME.py. The stub is a copy of what stood there at the first import, and a
#   type checker reads it instead of the module from then on: a function that is added later does not exist for it.
# Why it matters: a source tree changes by being run; a read-only installation and a developer's have other types; a
#   linter complains of a file that nobody wrote.
# Source: gradio/component_meta.py, `create_or_modify_pyi`, called by the metaclass of every component.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 pyright==1.1.411
cd "$folder"
cat >mine.py <<'PY'
"""A component of one's own."""

import gradio as gr


class Note(gr.Markdown):
    """A Markdown component under another name."""
PY
venv/bin/python -c 'import mine'
ls mine.py*
printf '\n\ndef later() -> int:\n    """Added after the first import."""\n    return 1\n' >>mine.py
printf 'from mine import later\n\nprint(later())\n' >uses.py
echo "python says: $(venv/bin/python uses.py)"
venv/bin/pyright --pythonpath venv/bin/python uses.py >said.txt || true
grep -o '"later" is unknown import symbol' said.txt
test -f mine.pyi
echo "as described"
