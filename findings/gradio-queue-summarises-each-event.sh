#!/usr/bin/env bash
# gradio 6.31.0, an app that nobody monitors (`enable_monitoring=False`, no API page).
# Expected: figures of how long events took are made for those who ask for them, or at least kept as running sums.
# Seen: after each event of the queue that is done, a pandas table of the last 10,000 events is built anew and its
#   percentiles taken, on a thread of the pool that serves requests. The change that brought it says "every 10 requests";
#   the default is each (`GRADIO_ANALYTICS_CACHE_FREQUENCY`, 1). pandas is imported for nothing else.
# Why it matters: a new app is quick, and the same app after a day of use is not: each event costs tens of milliseconds
#   of the interpreter's lock, which in a chat is several times what a search takes, and tests with few events never see
#   it. `blocks._queue.ANAYLTICS_CACHE_FREQUENCY` (spelled so) and `ANALYTICS_MAX_EVENTS` end it, or the two variables
#   of the environment before the page is built.
# Source: gradio/queueing.py, `Queue.compute_analytics_summary`; https://github.com/gradio-app/gradio/pull/11764; the
#   run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0
cat >"$folder/app.py" <<'PY'
import time

import gradio as gr
from gradio.queueing import Queue
from gradio_client import Client

seconds, rows = [], []
summary = Queue._get_df


def counted(records):
    rows.append(len(records))
    return summary(records)


def timed(queue, records, inner=Queue.compute_analytics_summary):
    begun = time.perf_counter()
    inner(queue, records)
    seconds.append(time.perf_counter() - begun)


Queue._get_df = staticmethod(counted)
Queue.compute_analytics_summary = timed
with gr.Blocks() as page:
    box = gr.Textbox()
    box.submit(lambda text: text, box, box, api_name="echo")
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, enable_monitoring=False)
client = Client(url, verbose=False)
events = 200
for _ in range(events):
    client.predict("hello", api_name="/echo")
while len(seconds) < events:
    time.sleep(0.1)
print(f"{events} events: {len(rows)} tables, of {rows[0]} to {rows[-1]} rows")
one = next(iter(page._queue.event_analytics.values()))
page._queue.events_recorded += 1
page._queue.compute_analytics_summary([dict(one) for _ in range(10_000)])
print(f"a table of {rows[-1]:,} rows takes {seconds[-1] / sorted(seconds[:-1])[events // 2]:.0f} times as long as of 100")
assert len(rows) == events + 1 and rows[-2] == events
print("as described")
PY
"$folder/venv/bin/python" "$folder/app.py"
