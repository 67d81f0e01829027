"""The line below the question: who answers."""

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.answering.backend import resolve
from app.messages.errors_zh import says
from app.messages.texts import TEXTS, tongue
from app.ui.render import safe_markdown
from core.errors import RagstoneError

if TYPE_CHECKING:
    from app.running.bases import State


def speaker(state: "State") -> Any:
    """The callback that says it."""

    async def status(request: gr.Request) -> str:
        """One line: who speaks."""
        texts = TEXTS[tongue(request)]
        if state.vllm_status:
            return f"⏳ {texts['starting']}: {safe_markdown(says(state.vllm_status, tongue(request))[:300])}"
        try:
            backend = await resolve(state.cfg.llm)
        except RagstoneError as error:
            return f"⚠️ {safe_markdown(says(error, tongue(request)))}"
        if backend.endpoint is None:
            failures = " ".join(says(note, tongue(request)) for note in backend.notes) if state.cfg.llm.base_url else ""
            return f"ℹ️ {safe_markdown(failures)} {texts['extractive'] if not failures else ''}"
        return f"{texts['speaks']}: **{safe_markdown(backend.model)}** ({backend.name})"

    return status
