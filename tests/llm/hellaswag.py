"""A few questions in the form of a public benchmark, laid out as the hub has it: the first ending is the right one."""

import json
from pathlib import Path

_SENTENCES = (
    ("The capital of France is", "Paris.", "banana.", "seventeen.", "quickly."),
    ("He opened the umbrella because it was", "raining.", "cheese.", "Tuesday of.", "purple eleven."),
    ("Two plus two equals", "four.", "window.", "never.", "the the."),
    ("Water freezes when it gets very", "cold.", "Monday.", "elephant.", "seven."),
)


def write(data: Path, right: int = 0) -> None:
    """Write data/Rowan/hellaswag, whose answers say that the ending of this number is right."""
    folder = data / "Rowan" / "hellaswag"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"activity_label": "Facts", "ctx_a": start, "ctx_b": "", "endings": list(endings), "label": str(right)}
        for start, *endings in _SENTENCES
    ]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
