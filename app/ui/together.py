"""What follows from one change on the page, as one request.

Gradio (6.31) asks for each listener of an event after the other, and where another change comes meanwhile it begins
with all of them again: with several listeners, a few quick changes never come to an end. So a change has one listener
here, which does all that follows from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.context import Context

_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True, slots=True)
class _Part:
    run: Callable[..., Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]


class Together:
    """What the parts of a tab do when a component changes; `wire` makes one event for each such component."""

    def __init__(self) -> None:
        self._parts: dict[Any, list[_Part]] = {}

    def when(
        self, changed: Sequence[Any], run: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        """Call `run` with the values of `inputs` and the request where one of `changed` did; it gives the `outputs`.

        Two that follow from the same change must not have an output in common.
        """
        for component in changed:
            self._parts.setdefault(component, []).append(_Part(run, inputs, outputs))

    def wire(self) -> None:
        """Begin to listen; nothing can be added after it."""
        for component, parts in self._parts.items():
            inputs = list(dict.fromkeys(one for part in parts for one in part.inputs))
            outputs = [one for part in parts for one in part.outputs]
            component.change(_all(parts, inputs), inputs, outputs, concurrency_limit=None, **_QUIETLY)


def _all(parts: Sequence[_Part], inputs: Sequence[Any]) -> Callable[..., Any]:
    places = [[inputs.index(one) for one in part.inputs] for part in parts]

    def run(request: gr.Request, *values: Any) -> Any:
        """All parts; of one that fails, why is told, and what it showed stays."""
        shown: list[Any] = []
        for part, at in zip(parts, places, strict=True):
            try:
                given = part.run(*(values[place] for place in at), request)
                shown += [given] if len(part.outputs) == 1 else given
            except gr.Error as error:
                gr.Warning(error.message)
                shown += [gr.skip()] * len(part.outputs)
        return shown[0] if len(shown) == 1 else shown

    return run


def on_load(run: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Call `run` when the page is loaded, and only then: `gr.on(None, ...)` calls it when an input changes, too."""
    page = Context.root_block
    assert page is not None, "only while the page is being built"
    page.load(run, inputs, outputs, **_QUIETLY)
