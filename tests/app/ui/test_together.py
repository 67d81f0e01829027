"""One change, one request: what Gradio makes of our wiring, and what a page does when a choice changes quickly."""

from collections import defaultdict
from pathlib import Path

import gradio as gr
import pytest

from app.running.bases import State
from app.ui import page
from app.ui.together import Together
from core.config import load


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "received"))
    settings = load(flags={"app.data": str(tmp_path / "data"), "llm.backend": "extractive"}, environ={})
    return page._blocks(State(settings), "kb", gr.I18n())


def test_what_changes_has_one_listener(blocks: gr.Blocks) -> None:
    """Else a few quick changes are handled again and again, for ever."""
    listeners: defaultdict[tuple[int | None, str], list[str]] = defaultdict(list)
    for event in blocks.fns.values():
        for component, name in event.targets:
            if event.trigger_mode == "always_last":
                listeners[component, name].append(str(event.fn))
    assert {one: several for one, several in listeners.items() if len(several) > 1} == {}


def test_nothing_that_is_done_on_load_is_done_on_a_change_too(blocks: gr.Blocks) -> None:
    """`gr.on(None, ...)` listens to its inputs as well, and one of them may be what it sets."""
    triggers = [{name for _, name in event.targets} for event in blocks.fns.values()]
    assert [names for names in triggers if "load" in names and names != {"load"}] == []


def test_parts_that_follow_from_one_change_are_one_call_and_one_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)

    def fails(value: str, request: gr.Request) -> str:
        raise gr.Error("no such thing")

    together = Together()
    with gr.Blocks() as made:
        box, other, *shown = (gr.Textbox() for _ in range(5))
        together.when([box], lambda a, b, request: f"{a}{b}", [box, other], [shown[0]])
        together.when([box], fails, [box], [shown[1]])
        together.when([box, other], lambda b, request: (b, b), [other], [shown[2], other])
        together.wire()
    first, second = made.fns.values()
    assert (first.inputs, first.outputs) == ([box, other], [*shown, other])
    assert (second.inputs, second.outputs) == ([other], [shown[2], other])
    assert first.fn is not None
    assert first.fn(None, "x", "y") == ["xy", gr.skip(), "y", "y"]
    assert warned == ["no such thing"]
