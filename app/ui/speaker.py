"""The line below the question, who answers; and the one above it, what is missing for answers."""

import asyncio
import html
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.answering.backend import Backend, resolve
from app.messages.errors_zh import says
from app.messages.texts import TEXTS, tongue
from app.ui.render import safe_markdown
from core.errors import CatalogError, RagstoneError

if TYPE_CHECKING:
    from app.running.bases import State


def speaker(state: "State") -> Any:
    """The callback that says both."""

    async def status(request: gr.Request) -> list[str]:
        """A line each: who speaks, and what is missing; "" where nothing is."""
        texts, backend = TEXTS[tongue(request)], None
        if state.vllm_status:
            line = f"⏳ {texts['starting']}: {safe_markdown(says(state.vllm_status, tongue(request))[:300])}"
        else:
            try:
                backend = await resolve(state.cfg.llm)
                line = _spoken(state, backend, request) + _changing(state, request)
            except RagstoneError as error:
                line = f"⚠️ {safe_markdown(says(error, tongue(request)))}"
        return [line, await asyncio.to_thread(_missing, state, backend, request)]

    return status


def _spoken(state: "State", backend: Backend, request: gr.Request) -> str:
    texts = TEXTS[tongue(request)]
    if backend.endpoint is None:
        failures = " ".join(says(note, tongue(request)) for note in backend.notes) if state.cfg.llm.base_url else ""
        return f"ℹ️ {safe_markdown(failures)} {texts['extractive'] if not failures else ''}"
    return f"{texts['speaks']}: **{safe_markdown(backend.model)}** ({backend.name})"


def _changing(state: "State", request: gr.Request) -> str:
    """That another model takes over, or that one should and did not."""
    said = tongue(request)
    line = f" · ⏳ {safe_markdown(says(state.switching, said)[:300])}" if state.switching else ""
    return line + (f" · ⚠️ {safe_markdown(says(state.fell_back, said)[:500])}" if state.fell_back else "")


def _missing(state: "State", backend: Backend | None, request: gr.Request) -> str:
    """What an admin would still set up, with the way there; who is none is told to ask one."""
    texts, admin = TEXTS[tongue(request)], state.users.of(request).may("admin")
    names = state.bases.names()
    no_model = backend is not None and backend.endpoint is None and state.cfg.llm.backend != "extractive"
    lacks = [texts["lacks_documents"]] if not any(_holds(state, name) for name in names) else []
    lacks += [texts["lacks_model"]] if no_model else []
    if not lacks:
        return ""
    line = html.escape(texts["lacks"].format(texts["and"].join(lacks)))
    way = (
        f'<button type="button" class="rs-go" data-go="setup">{html.escape(texts["set_up"])}</button>'
        if admin
        else html.escape(texts["ask_admin"])
    )
    first = " data-first" if admin and not names else ""
    return f'<div class="rs-missing"{first}>{line} {way}</div>'


def _holds(state: "State", name: str) -> bool:
    """Whether a knowledge base has a passage; one that cannot be opened is not said to have none."""
    try:
        return bool(state.bases.get(name).catalog.first_chunks(1))
    except CatalogError:
        return True
