"""The files of a conversation, beside the question: picked or dropped, each with how far it is, and how it goes.

page.js drops files into the button's own input, and asks anew while one is being read.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from app.answering.view import page_picture
from app.http.visit import Aside
from app.messages.errors_zh import says
from app.messages.texts import TEXTS, Tongue, tongue
from app.running.chat_files import Attached
from app.running.chats import Reader
from app.running.limits import caller
from app.running.users import User
from app.ui.conversation import reader_of
from app.ui.markup import markup
from core.errors import CatalogError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.running.bases import State


def line() -> Any:
    """Where the files of the conversation that is shown stand."""
    return markup("chat-files")


def button(say: Any) -> Any:
    """What picks files; it is shown to those who may."""
    return gr.UploadButton(
        say("attach"), file_count="multiple", size="sm", visible=False, elem_id="chat-attach", scale=0, min_width=60
    )


def chips(files: Sequence[Attached], said: Tongue) -> str:
    """The files of a conversation, each with a button that removes it; "" where there are none."""
    if not files:
        return ""
    texts = TEXTS[said]
    reading = " data-reading" if any(file.state == "reading" for file in files) else ""
    rows = "".join(_chip(file, said) for file in files)
    return f'<ul class="rs-dropped" aria-label="{html.escape(texts["files_here"], quote=True)}"{reading}>{rows}</ul>'


def _chip(file: Attached, said: Tongue) -> str:
    texts, name = TEXTS[said], html.escape(file.name, quote=True)
    how = texts["passages_n"].format(file.passages) if file.state == "read" else texts["being_read"]
    notes = " ".join(says(note, said) for note in file.notes)
    if file.error:
        how = texts["unread"].format(says(file.error.error, said))
        notes = says(file.error.hint, said)
    remove = html.escape(texts["remove_file"], quote=True)
    return (
        f'<li class="rs-{file.state}" title="{html.escape(notes, quote=True)}"><bdi>{name}</bdi> '
        f"<span>{html.escape(how)}</span>"
        f'<button type="button" data-unfile="{name}" title="{remove}" aria-label="{remove}: {name}">✕</button></li>'
    )


def shown(state: "State", reader: Reader, chat_id: str, said: Tongue) -> str:
    """The files of a conversation as they are now."""
    return chips(state.files.files(reader, chat_id), said) if chat_id else ""


def check(state: "State", request: gr.Request) -> User:
    """Who drops files into a conversation. Raises `AccessError` where they may not."""
    user = state.users.require(request, "reader")
    state.files.check(user)
    return user


def take(
    state: "State", received: Sequence[str] | None, chat_id: str, request: gr.Request
) -> tuple[Reader, Tongue, str]:
    """Attach what somebody sent to a conversation; who it was, their language, and its files by then.

    What is refused is told, and the rest stays.
    """
    reader, said = reader_of(state, check(state, request)), tongue(request)
    for error in state.files.attach(reader, chat_id, [Path(file) for file in received or ()]):
        gr.Warning(html.escape(says(error, said)), duration=None)
    return reader, said, shown(state, reader, chat_id, said)


def pressed(state: "State", told: dict[str, str], chat_id: str, request: gr.Request) -> str:
    """Remove the file that was pressed, if one was; the files of the conversation by then."""
    user, said = state.users.require(request, "reader"), tongue(request)
    reader = reader_of(state, user)
    if chat_id and told.get("action") == "unfile":
        state.files.remove(reader, chat_id, told.get("name", ""))
    return shown(state, reader, chat_id, said)


def add_routes(api: "FastAPI", state: "State") -> None:
    """What an answer shows of such a file, for the owner of its conversation."""
    aside = Aside()

    @api.get("/chats/{chat_id}/view/{chunk_id}.png", response_model=None)
    async def view(chat_id: str, chunk_id: int, request: Request) -> Response:
        """The page that a passage stands on, with the passage marked."""
        user = await run_in_threadpool(state.users.require, request, "reader")

        def drawn() -> bytes:
            scope = state.files.scope(reader_of(state, user), chat_id)
            if scope is None:
                raise CatalogError("this chat has no files", "they were removed")
            return page_picture(scope[0], chunk_id, state.cfg.ingest)

        return await aside.picture(request, caller(request, user.id), drawn)
