"""The page: a tab for each thing to do, put together from the modules beside this one.

A tab is a module with `NAME`, `ROLE` (who sees it), `TEXTS` (what it says, by language) and `build(state, say, kb)`,
which makes its widgets inside the tab; `say("key")` is a label that the browser shows in its language.
"""

import html
import logging
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from gradio import queueing
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.events import Events
from app.http.headers import CSP
from app.http.openai_form import error_body
from app.http.sessions import Sessions
from app.http.subpath import normal
from app.messages.texts import tongue
from app.running.uploads import Uploads, named_folder
from app.ui import (
    chat,
    chat_files,
    exports,
    knowledge,
    knowledge_job,
    lab,
    lab_edit,
    mention,
    models,
    pressed,
    settings,
    setup,
)
from app.ui.markup import markup
from app.ui.theme import theme
from core.errors import PromptError, RagstoneError
from prompts.versions import pack

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.running.bases import State

log = logging.getLogger(__name__)

TABS = (chat, knowledge, lab, models, settings, setup)
_HERE = Path(__file__).parent
_KEYS = (
    ("Enter", "key_send"), ("Shift + Enter", "key_line"), ("Esc", "key_stop"), ("↑", "key_edit"), ("#", "key_mention"),
    ("Alt + N", "key_new"), ("Alt + K", "key_find"), ("Alt + /", "key_list"),
)  # fmt: skip


# Gradio speaks the browser's first language, which it asks for at once; the one chosen on the page comes before it.
_LANGUAGE = """<head><script>
  const chosen = document.cookie.match(/(?:^|; )ragstone_language=(zh|en)/)?.[1];
  if (chosen) {
    const tag = chosen === 'zh' ? 'zh-CN' : 'en';
    Object.defineProperty(navigator, 'language', { get: () => tag });
    Object.defineProperty(navigator, 'languages', { get: () => [tag] });
  }
</script>"""


class _Scripts:
    """Puts a script in front of all others of the page, and names those that stand in it by a nonce of this response.

    Any other that comes to stand there is not run (https://www.w3.org/TR/CSP3/#security-nonces). Plain ASGI, so that
    streams are not buffered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        head: list[Message] = []
        page = bytearray()

        async def with_script(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.append(message)
                return
            page.extend(message.get("body", b""))
            if not message.get("more_body"):
                nonce = secrets.token_urlsafe(16).encode()
                body = bytes(page).replace(b"<head>", _LANGUAGE.encode(), 1)
                for tag in (b"<script>", b"<script data-gradio-mode>"):
                    body = body.replace(tag, tag[:-1] + b' nonce="' + nonce + b'">')
                rows = [
                    (name.lower(), value) for name, value in head[0]["headers"] if name.lower() != b"content-length"
                ]
                allowed = b"script-src 'self' 'nonce-" + nonce + b"'"
                rows = [(n, v.replace(b"script-src 'self'", allowed) if n == CSP else v) for n, v in rows]
                await send(dict(head[0]) | {"headers": [*rows, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        await self.app(dict(scope) | {"headers": plain}, receive, with_script)


def mount(api: "FastAPI", state: "State", kb: str) -> "FastAPI":
    """The API with the UI at `/`."""
    _add_routes(api, state)
    api.add_middleware(_Scripts)
    words = {t: {f"{m.NAME}_{key}": text for m in TABS for key, text in m.TEXTS[t].items()} for t in ("en", "zh")}
    i18n = gr.I18n(**{"en": words["en"], "zh": words["zh"], "zh-CN": words["zh"]})
    uploads = _uploads(state)
    blocks = _blocks(state, kb, i18n)
    blocks.has_launched = True  # else Gradio's own check of the files that an event names is left out
    # After each event Gradio (6.31) reckons how long its last 10,000 took, for a page that nobody sees: 50 ms.
    blocks._queue.ANAYLTICS_CACHE_FREQUENCY, blocks._queue.ANALYTICS_MAX_EVENTS = sys.maxsize, 1
    sessions = Sessions(blocks)
    guard = Middleware(Events, uploads=uploads, inputs=_inputs(blocks), sessions=sessions, drops=state.files.room)
    api = gr.mount_gradio_app(
        api, blocks, path="/", app_kwargs={"middleware": [guard]}, theme=theme(), i18n=i18n,
        css=(_HERE / "page.css").read_text("utf-8"),
        head='<script src="page.js"></script>', root_path=normal(state.cfg.app.root_path) or None,
        ssr_mode=False, show_error=True,
        max_file_size=state.cfg.app.max_upload_mb * 1024 * 1024, footer_links=[], blocked_paths=[state.cfg.app.data],
        enable_monitoring=False,
    )  # fmt: skip
    page: Any = next(route.app for route in api.routes if isinstance(route, Mount))
    page.state_holder = blocks.state_holder = sessions  # in place of Gradio's own
    queueing.traceback = SimpleNamespace(print_exc=lambda: _log_failure(sys.exception()))  # type: ignore[attr-defined]
    return api


class _Page(gr.Blocks):
    """Gradio's, where what an event fails with is told in the page's language, and nothing of the code."""

    async def process_api(self, *args: Any, **named: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*args, **named)
        except gr.Error:
            raise
        except Exception as error:
            said = tongue(named["request"])
            if isinstance(error, RagstoneError):
                raise knowledge_job.shown(error, said) from None
            _log_failure(error)
            raise gr.Error(chat.TEXTS[said]["broken"], print_exception=False) from None


def _log_failure(error: BaseException | None) -> None:
    """In place of the traceback that Gradio prints, whose message may hold all that an event sent."""
    where = "" if isinstance(error, gr.Error) else "\n" + "".join(traceback.format_tb(error and error.__traceback__))
    log.error("an event of the page failed: %s: %.300r%s", type(error).__name__, str(error), where.rstrip())


def _uploads(state: "State") -> Uploads:
    """Where browsers' files are received: named by `GRADIO_TEMP_DIR`, which Gradio reads as components are made."""
    named = named_folder(os.environ.get("GRADIO_TEMP_DIR"))
    uploads = Uploads(state.cfg.app.pending_uploads_mb * 2**20, named)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    threading.Thread(target=uploads.keep_swept, daemon=True, name="uploads").start()
    return uploads


def _inputs(blocks: gr.Blocks) -> dict[int, list[str]]:
    """Of each event of the page, the kinds of the components whose values it brings."""
    return {number: [block.get_block_name() for block in event.inputs] for number, event in blocks.fns.items()}


def _blocks(state: "State", kb: str, i18n: gr.I18n) -> gr.Blocks:
    shown: list[gr.Tab] = []
    built: dict[Any, Any] = {}

    def opened(request: gr.Request) -> Any:
        user = state.users.of(request)
        return _head(user.name, request), *(gr.Tab(visible=user.may(tab.ROLE)) for tab in TABS)

    with _Page(title="Ragstone", analytics_enabled=False, fill_height=True, fill_width=True) as blocks:
        head, go = markup("head"), pressed.box("page")
        with gr.Tabs(elem_id="tabs") as tabs:
            for tab in TABS:
                say: Any = lambda key, name=tab.NAME: i18n(f"{name}_{key}")  # noqa: E731
                with gr.Tab(say("tab"), id=tab.NAME, elem_id=f"tab-{tab.NAME}") as one:
                    built[tab] = tab.build(state, say, kb)
                shown.append(one)
        opens, fills = built[setup]  # as it is opened
        quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        shown[TABS.index(setup)].select(opens, None, fills, **quietly)
        go.change(_goer(state), go, tabs, **quietly)
        blocks.load(opened, None, [head, *shown], api_visibility="private", show_progress="hidden")
    for event in blocks.fns.values():
        if event.show_progress == "hidden":
            # Gradio's page (6.31) tells each output how far each event is, shown or not: some times an event, and each
            # time it searches the whole page for it and copies what stands below it.
            event.show_progress_on = []
    return blocks


def _goer(state: "State") -> Any:
    def go(what: str, request: gr.Request) -> Any:
        """Turn to the tab that a link of the page names, where its visitor may."""
        user, name = state.users.of(request), pressed.read(what).get("tab")
        return gr.Tabs(selected=name) if any(name == tab.NAME and user.may(tab.ROLE) for tab in TABS) else gr.skip()

    return go


def _head(user: str, request: gr.Request) -> str:
    """What stands above the tabs: who is signed in, the other language, light or dark."""
    said = tongue(request)
    texts = {key: html.escape(text, quote=True) for key, text in chat.TEXTS[said].items()}
    other = "en" if said == "zh" else "zh"
    who = ""
    if user:
        who = (
            f'<a href="password">{texts["signed_in"].format(f"<bdi>{html.escape(user)}</bdi>")}</a>'
            f'<form method="post" action="logout"><button>{texts["sign_out"]}</button></form>'
        )
    return (
        f'<div class="rs-head"><button data-page="chats" class="rs-menu" aria-label="{texts["chats"]}">☰</button>'
        f'<h1>Ragstone</h1><span class="rs-gap"></span>{who}'
        f'<button data-page="language" data-to="{other}" lang="{other}">{texts["language"]}</button>'
        f'<button data-page="theme" title="{texts["theme"]}" aria-label="{texts["theme"]}">◐</button>'
        f'<button data-page="keys" title="{texts["keys"]}" aria-label="{texts["keys"]}">?</button>{_keys(texts)}</div>'
    )


def _keys(texts: Mapping[str, str]) -> str:
    """The list of the keys, which page.js opens."""
    rows = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{texts[name]}</dd>" for key, name in _KEYS)
    return (
        f'<dialog id="rs-keys" aria-labelledby="rs-keys-title"><h2 id="rs-keys-title">{texts["keys"]}</h2>'
        f'<dl>{rows}</dl><button data-page="keys">{texts["close"]}</button></dialog>'
    )


def _add_routes(api: "FastAPI", state: "State") -> None:
    @api.get("/mentions")
    def mentions(request: Request, typed: str = "") -> JSONResponse:
        """What can follow `#` in a question."""
        user = state.users.require(request, "reader")
        seen = user.seen(state.bases.names())
        return JSONResponse(mention.offers(state.bases, seen, typed[:200]))

    @api.get("/page.js", response_model=None)
    def script() -> Response:
        """What the page does by itself."""
        return FileResponse(_HERE / "page.js", headers={"cache-control": "no-cache"})

    @api.get("/prompts.toml", response_model=None)
    def prompts(request: Request) -> Response:
        """Versions of prompts as one file, `?label=answer/v001&label=...`."""
        user = state.users.require(request, "editor")
        try:
            chosen = [lab_edit.of_label(state, label, user) for label in request.query_params.getlist("label")]
        except PromptError as error:
            return JSONResponse(error_body(404, str(error)), 404)
        return PlainTextResponse(pack(chosen), media_type="application/toml; charset=utf-8")

    exports.add_routes(api, state)
    chat_files.add_routes(api, state)
