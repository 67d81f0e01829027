"""A part of the page that is HTML of our own making, in which everything that came from elsewhere is escaped.

It is shown by Gradio's Markdown: its HTML component evaluates a template in the browser, which the content security
policy forbids. To Markdown, what begins with a block's tag is HTML up to the first blank line (CommonMark 0.31, 4.6).
"""

import re
from abc import ABCMeta
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

_BLANK = re.compile(r"\n(?=[ \t\r]*\n)")


def _whole(self: "gr.Markdown", value: str | None) -> str | None:
    """The same without a blank line, whatever a document holds."""
    return f"<div>{_BLANK.sub('&#10;', value)}</div>" if value else value


@cache
def _html() -> Any:
    """The component, made without Gradio's metaclass, which writes a stub beside the module of every class."""
    import gradio as gr

    own = {"postprocess": _whole, "is_template": True, "__module__": __name__}
    return ABCMeta.__new__(type(gr.Markdown), "Html", (gr.Markdown,), own)


def markup(elem_id: str | None = None, *, padding: bool = False) -> "gr.Markdown":
    """A place of the page whose callbacks give it HTML."""
    return _html()(elem_id=elem_id, padding=padding, sanitize_html=False, latex_delimiters=[])
