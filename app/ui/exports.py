"""A conversation, and one answer of it, as files that its owner takes along."""

import time
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from app.answering.exported import Written, as_markdown, as_page, as_word
from app.http.openai_form import error_body
from app.messages.texts import tongue
from app.ui.conversation import reader_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.running.bases import State

_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def add_routes(api: "FastAPI", state: "State") -> None:
    """What can be taken along; each who asks is given what is theirs."""

    @api.get("/chats/{chat_id}.md", response_model=None)
    def export(chat_id: str, request: Request) -> Response:
        """A conversation as Markdown."""
        user = state.users.require(request, "reader")
        text = state.chats.markdown(reader_of(state, user), chat_id)
        named = {"content-disposition": 'attachment; filename="chat.md"'}
        return PlainTextResponse(text, media_type="text/markdown; charset=utf-8", headers=named)

    @api.get("/answers/{message}.{kind}", response_model=None)
    def answer(message: int, kind: Literal["md", "docx", "html"], request: Request) -> Response:
        """An answer with its question and sources: Markdown, Word, or a page to print or save as PDF."""
        user, said = state.users.require(request, "reader"), tongue(request)
        reader = reader_of(state, user)
        found = state.chats.message(reader, state.chats.holding(reader, message), message)
        if found is None or found[0].hidden or found[0].role != "assistant":
            return JSONResponse(error_body(404, "there is no such answer in what is shown of the conversation"), 404)
        shown, question = found
        done = shown.answer
        when = time.strftime("%Y-%m-%d", time.localtime(shown.made))
        model = done.model if done and done.backend != "extractive" else ""
        written = Written(question, shown.text, done.citations if done else (), when, model)
        if kind == "html":
            return HTMLResponse(as_page(written, said))
        named = {"content-disposition": f"attachment; filename*=UTF-8''{quote(f'{written.name}.{kind}', safe='')}"}
        if kind == "docx":
            return Response(as_word(written, said), media_type=_WORD, headers=named)
        return PlainTextResponse(as_markdown(written, said), media_type="text/markdown; charset=utf-8", headers=named)
