#!/usr/bin/env bash
# gradio 6.31.0, an event that another one `cancels`.
# Expected: once Stop was pressed and what follows from it is shown, the box takes the next question.
# Seen: the page counts the old event as running until the server has answered the request to cancel it, which waits for
#   the function to come to its end. Until then a submit is dropped: no request, no message, the text stays in the box.
#   What follows from Stop is shown before that, so nothing tells when one may ask again.
# Why it matters: a chat whose clean-up after a stop takes a moment (keeping what was written, closing a stream) loses
#   questions. `trigger_mode="multiple"`, and an order kept by the server, does not.
# Source: https://www.gradio.app/docs/gradio/textbox (trigger_mode "once" is the default but for `change`, `input`,
#   `key_up`) and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) || { echo "Chromium is needed on PATH" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$folder/page.py" <<'PY'
import asyncio
import sys

import gradio as gr
from playwright.sync_api import sync_playwright

asked, closed = [], []


async def ask(text):
    asked.append(text)
    try:
        while True:
            yield f"answering {text}"
            await asyncio.sleep(0.05)
    finally:
        await asyncio.sleep(3)
        closed.append(text)


with gr.Blocks() as page:
    box, shown, told, stop = gr.Textbox(label="box"), gr.Textbox(label="shown"), gr.Textbox(label="told"), gr.Button("stop")
    asking = box.submit(ask, box, shown)
    stop.click(lambda: "stopped", None, told, cancels=[asking])
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)

with sync_playwright() as playwright:
    tab = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"]).new_page()
    tab.goto(url)


    def put(text):
        tab.get_by_label("box").fill(text)
        tab.get_by_label("box").press("Enter")


    def wait(done):
        while not done():
            tab.wait_for_timeout(50)


    put("one")
    wait(lambda: tab.get_by_label("shown").input_value() == "answering one")
    tab.get_by_role("button", name="stop").click()
    wait(lambda: tab.get_by_label("told").input_value() == "stopped")
    put("two")
    wait(lambda: closed)
    tab.wait_for_timeout(2000)
    print(f"asked after Stop was shown to have ended it: {asked[1:] or 'dropped'}")
    dropped = asked == ["one"]
    put("three")
    wait(lambda: len(asked) > 1)
    print(f"asked when the first had come to its end: {asked[1:]}")
assert dropped
assert asked == ["one", "three"]
print("as described")
PY
"$folder/venv/bin/python" "$folder/page.py" "$browser"
