#!/usr/bin/env bash
# gradio 6.31.0, `button.click(fn, ..., cancels=[running])`.
# Expected: the running event is cancelled as the button is pressed; `fn` says what is there then.
# Seen: the two are listeners of their own, which a page asks one after the other: `fn` first, and when its answer was
#   shown, the request to cancel goes out. Until then the running event goes on and shows what it yields.
# Why it matters: where a browser is slower than the frames of an answer, the answer of `fn` waits behind them, and they
#   grow more as long as it does: Stop seems to do nothing. A listener without a function, put first, cancels at once.
# Source: https://www.gradio.app/guides/running-events ("cancels") and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) || { echo "Chromium is needed on PATH" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$folder/page.py" <<'PY'
import asyncio
import sys
import time

import gradio as gr
from playwright.sync_api import sync_playwright

ended = []


async def answer():
    try:
        for number in range(1000):
            yield str(number)
            await asyncio.sleep(0.05)
    finally:
        ended.append(time.monotonic())


async def tell():
    await asyncio.sleep(3)
    return "stopped"


with gr.Blocks() as page:
    start, together, apart = gr.Button("start"), gr.Button("together"), gr.Button("apart")
    shown, told = gr.Textbox(label="shown"), gr.Textbox(label="told")
    running = start.click(answer, None, shown)
    together.click(tell, None, told, cancels=[running])
    apart.click(None, cancels=[running])
    apart.click(tell, None, told)
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)

took = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    for name in ("together", "apart"):
        ended.clear()
        tab = browser.new_page()
        tab.goto(url)
        tab.get_by_role("button", name="start").click()
        while not tab.get_by_label("shown").input_value():
            tab.wait_for_timeout(50)
        pressed = time.monotonic()
        tab.get_by_role("button", name=name).click()
        while not ended:
            tab.wait_for_timeout(50)
        took[name] = ended[0] - pressed
        print(f"{name}: cancelled {took[name]:.1f} s after the press")
        tab.close()
assert took["together"] > 3 > took["apart"]
print("as described")
PY
"$folder/venv/bin/python" "$folder/page.py" "$browser"
