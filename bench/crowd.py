"""Many people at once: `python -m bench.crowd --people 50`.

Each asks one question after another of the sample handbook, through the API of `ragstone serve`. The model is a
stand-in that writes at a set rate whoever asks, so what is measured is the app: the same requests are sent to the
stand-in itself in the same run. Reported: time to the first word (p50, p95 and the longest: whether anybody starves),
the time that the app adds to it, and whether each answer kept the pace of the stand-in.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench.chats import chats
from bench.record import environment, merge
from bench.serving import questions
from retrieval.metrics import percentile
from tests.app.app_process import ROOT, index, running
from tests.app.stub_model import Reply, serving

_PIECES, _DELAY_S = 40, 0.05  # an answer of 40 words at 20 a second


def measure(people: int, seconds: float) -> dict[str, Any]:
    """The stand-in asked by itself, and through the app."""
    asked = questions(people * 20)
    bodies = [{"model": "handbook", "messages": [{"role": "user", "content": text}]} for text in asked]
    free = {"RAGSTONE_APP__ANSWERS_AT_ONCE": "0", "RAGSTONE_APP__ANSWERS_PER_MINUTE": "0"}
    with tempfile.TemporaryDirectory(prefix="ragstone-bench-") as name, serving() as stub:
        data = Path(name) / "data"
        index(ROOT / "examples" / "handbook", "handbook", data)
        stub.reply = Reply([f"word{n} " for n in range(_PIECES)], delay_s=_DELAY_S)
        env = free | {"RAGSTONE_LLM__BASE_URL": stub.base_url, "RAGSTONE_RETRIEVAL__VARIANTS": "0"}
        with running("serve", data, Path(name) / "app.log", env) as app:
            chats(f"{app.url}/v1", bodies[:2], 1, 1)  # loads what the first answer needs
            alone = chats(stub.base_url, bodies, people, seconds)
            through = chats(f"{app.url}/v1", bodies, people, seconds)
            one = chats(f"{app.url}/v1", bodies, 1, seconds / 2)
    added = percentile(through.first_s, 0.5) - percentile(alone.first_s, 0.5)
    return {
        "people": people,
        "stand_in": alone.told(),
        "app": through.told(),
        "one_person": one.told(),
        "added_p50_ms": round(1000 * added, 1),
        "throughput_ratio": round(through.rate / alone.rate, 3),
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description="Many people at once.")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="no question is begun after so long")
    options = parser.parse_args()
    row = measure(options.people, options.seconds)
    merge("crowd", row | {"environment": environment(("gradio", "faiss-cpu", "tantivy"))})
    for way in ("stand_in", "app", "one_person"):
        print(way, row[way])
    print(f"added at p50: {row['added_p50_ms']} ms; throughput {row['throughput_ratio']} of the stand-in's")


if __name__ == "__main__":
    main()
