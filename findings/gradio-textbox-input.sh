#!/usr/bin/env bash
# gradio 6.31.0, Textbox: the event `input`.
# Expected: it comes whenever a person changes the text, as its documentation says ("triggered when the user changes the
#   value of the Textbox") and as the DOM's event of that name does.
# Seen: it comes with key presses that write a character, alone. Backspace, cutting, pasting and what an input method
#   commits, which is how Chinese is typed, change the text and raise `change` only.
# Why it matters: a page that saves or checks "as one types" by `.input` misses deletions, and all of it in Chinese.
#   `.change` comes each time, but also when the app itself sets the value.
# Source: https://www.gradio.app/docs/gradio/textbox (event listeners), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) || { echo "Chromium is needed on PATH" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$folder/page.py" <<'PY'
import sys

import gradio as gr
from playwright.sync_api import sync_playwright

seen = {"input": 0, "change": 0}


def count(kind):
    def add(text):
        seen[kind] += 1

    return add


with gr.Blocks() as page:
    box = gr.Textbox(label="box")
    box.input(count("input"), box, None)
    box.change(count("change"), box, None)
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)

with sync_playwright() as playwright:
    tab = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"]).new_page()
    tab.goto(url)
    field = tab.get_by_label("box")
    found = {}
    for name, act in {
        "typing": lambda: (field.click(), tab.keyboard.type("abc")),
        "backspace": lambda: tab.keyboard.press("Backspace"),
        "text committed at once": lambda: tab.keyboard.insert_text("年假"),
        "cutting": lambda: (field.press("Control+a"), field.press("Control+x")),
    }.items():
        before = dict(seen)
        act()
        tab.wait_for_timeout(3000)
        found[name] = {kind: seen[kind] > before[kind] for kind in seen}
        print(f"{name}: input {found[name]['input']}, change {found[name]['change']}")
assert all(row["change"] for row in found.values())
assert [name for name, row in found.items() if row["input"]] == ["typing"]
print("as described")
PY
"$folder/venv/bin/python" "$folder/page.py" "$browser"
