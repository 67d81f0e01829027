#!/usr/bin/env bash
# gradio 6.31.0, several listeners of one event.
# Expected: `box.change(a, ...)` and `box.change(b, ...)` are independent, each with a queue and workers of its own
#   (`concurrency_limit` is per listener), so that both run when the box changes.
# Seen: the page asks for the second when the first has answered, and so on: four listeners of a second each take four.
# Why it matters: parts of a page that each follow one choice add up to a slow page, and the last sees a choice that
#   may have changed meanwhile. One listener that returns everything takes one request.
# Source: https://www.gradio.app/docs/gradio/on and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) || { echo "Chromium is needed on PATH" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$folder/page.py" <<'PY'
import sys
import time

import gradio as gr
from playwright.sync_api import sync_playwright

ran = []


def slow(number):
    def run(value):
        begun = time.monotonic()
        time.sleep(1)
        ran.append((begun, time.monotonic()))
        return f"{number}: {value}"

    return run


with gr.Blocks() as page:
    box = gr.Dropdown(["a", "b"], value="a", label="box")
    change = gr.Button("change")
    for number in range(4):
        box.change(slow(number), box, gr.Textbox(label=f"shown {number}"), concurrency_limit=None)
    change.click(lambda: "b", None, box)
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)

with sync_playwright() as playwright:
    tab = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"]).new_page()
    tab.goto(url)
    tab.get_by_role("button", name="change").click()
    while len(ran) < 4:
        tab.wait_for_timeout(100)
together = sum(begun < ended for (_, ended), (begun, _) in zip(ran, ran[1:]))
print(f"4 listeners of 1 s: {ran[-1][1] - ran[0][0]:.1f} s, of which any two ran together: {together}")
assert together == 0
print("as described")
PY
"$folder/venv/bin/python" "$folder/page.py" "$browser"
