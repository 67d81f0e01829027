"""A list to choose from, of which the browser alone knows the choices: whoever uses a value checks it.

Gradio compares a value with the choices that the page was shown. It would have to keep them for each page, and refuses
all where it has forgotten the page.
"""

from abc import ABCMeta
from typing import Any

import gradio as gr

from app.ui.knowledge_job import shown


def _text(self: gr.Dropdown, payload: Any) -> str | list[str] | None:
    """What was chosen. Raises `gr.Error` where that is no text, or no list of texts."""
    several = payload if self.multiselect and isinstance(payload, list) else [payload or ""]
    if not all(isinstance(one, str) for one in several):
        raise shown("a list takes text")
    return payload


def _as_is(_: gr.Dropdown, value: Any) -> Any:
    return value


# Made without Gradio's metaclass, which writes a stub beside the module of every class of components.
_Choice = ABCMeta.__new__(
    type(gr.Dropdown), "Choice", (gr.Dropdown,),
    {"preprocess": _text, "postprocess": _as_is, "is_template": True, "__module__": __name__},
)  # fmt: skip


def choice(*args: Any, **settings: Any) -> gr.Dropdown:
    """A list as `gr.Dropdown` makes it, by whose update a callback gives it choices."""
    made: Any = _Choice
    return made(*args, **settings)
