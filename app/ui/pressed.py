"""What was pressed inside an HTML part of the page: page.js writes it into an unseen text box, whose event tells it.

Gradio's own way (`js_on_load`) evaluates text as a script in the browser, which the content security policy forbids.
"""

import json
from typing import Any


def box(name: str) -> Any:
    """The text box of the part `name`; to be read with `read`. Its `change` event comes with each press."""
    import gradio as gr

    return gr.Textbox("", container=False, elem_id=f"{name}-pressed", elem_classes="rs-unseen", max_length=10_000)


def read(text: str) -> dict[str, str]:
    """What was pressed, by the names of its data attributes; {} for what page.js does not write."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}
