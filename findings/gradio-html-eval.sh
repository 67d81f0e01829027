#!/usr/bin/env bash
# gradio 6.31.0, HTML: a page whose content security policy has no 'unsafe-eval'.
# Expected: plain HTML without a template and without js_on_load is put into the page.
# Seen: nothing is shown. Every HTML component compiles a template in the browser (Handlebars, then `Function`), also the
#   default one, "${value}". A Markdown component with sanitize_html=False shows the same HTML under the same policy.
# Why it matters: who serves a Gradio page to others wants a policy that runs no text as a script; one HTML component
#   anywhere forbids it.
# Source: the run below; gradio/components/html.py (`html_template`).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
browser=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) || { echo "Chromium is needed on PATH" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$folder/page.py" <<'PY'
import socket
import sys
import threading
import time

import gradio as gr
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import sync_playwright

app = FastAPI()


@app.middleware("http")
async def policy(request, go_on):
    answer = await go_on(request)
    answer.headers["content-security-policy"] = "script-src 'self' 'unsafe-inline'"
    return answer


with gr.Blocks() as page:
    gr.HTML("<b>shown by HTML</b>")
    gr.Markdown("<b>shown by Markdown</b>", sanitize_html=False)
app = gr.mount_gradio_app(app, page, path="/", ssr_mode=False)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
threading.Thread(target=uvicorn.run, args=(app,), kwargs={"port": port, "log_level": "error"}, daemon=True).start()
time.sleep(5)

with sync_playwright() as playwright:
    tab = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"]).new_page()
    said = []
    tab.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    tab.goto(f"http://127.0.0.1:{port}")
    tab.get_by_text("shown by Markdown").wait_for()
    tab.wait_for_timeout(2000)
    seen = {name: tab.get_by_text(f"shown by {name}").count() for name in ("HTML", "Markdown")}
    print(seen, *{line.splitlines()[0][:90] for line in said}, sep="\n")
assert seen == {"HTML": 0, "Markdown": 1}
assert any("Error evaluating template" in line for line in said)
print("as described")
PY
"$folder/venv/bin/python" "$folder/page.py" "$browser"
