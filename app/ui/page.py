"""The page: a tab for each thing to do, put together from the modules beside this one.

A tab is a module with `NAME`, `ROLE` (who sees it), `TEXTS` (what it says, by language) and `build(state, say, kb)`,
which makes its widgets inside the tab; `say("key")` is a label that the browser shows in its language.
"""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from gradio.themes import Soft
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ui import chat, knowledge, lab, mention, models, settings
from app.ui.visitor import tongue

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.running.bases import State

TABS = (chat, knowledge, lab, models, settings)
_HERE = Path(__file__).parent


# Gradio speaks the browser's first language, which it asks for at once; the one chosen on the page comes before it.
_LANGUAGE = """<script>
  const chosen = document.cookie.match(/(?:^|; )ragstone_language=(zh|en)/)?.[1];
  if (chosen) {
    const tag = chosen === 'zh' ? 'zh-CN' : 'en';
    Object.defineProperty(navigator, 'language', { get: () => tag });
    Object.defineProperty(navigator, 'languages', { get: () => [tag] });
  }
</script>"""


class _Language:
    """Puts a script in front of all others of the page; plain ASGI, so that streams are not buffered."""

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
                body = bytes(page).replace(b"<head>", b"<head>" + _LANGUAGE.encode(), 1)
                kept = [(name, value) for name, value in head[0]["headers"] if name.lower() != b"content-length"]
                await send(dict(head[0]) | {"headers": [*kept, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        await self.app(dict(scope) | {"headers": plain}, receive, with_script)


def mount(api: "FastAPI", state: "State", kb: str) -> "FastAPI":
    """The API with the UI at `/`."""
    _add_routes(api, state)
    api.add_middleware(_Language)
    font = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
    theme = Soft(primary_hue="teal", font=font, font_mono=["ui-monospace", "monospace"])
    words = {t: {f"{m.NAME}_{key}": text for m in TABS for key, text in m.TEXTS[t].items()} for t in ("en", "zh")}
    i18n = gr.I18n(**{"en": words["en"], "zh": words["zh"], "zh-CN": words["zh"]})
    return gr.mount_gradio_app(
        api, _blocks(state, kb, i18n), path="/", theme=theme, css=(_HERE / "page.css").read_text("utf-8"), i18n=i18n,
        head=f"<script>{(_HERE / 'page.js').read_text('utf-8')}</script>", ssr_mode=False, show_error=True,
        max_file_size=state.cfg.app.max_upload_mb * 1024 * 1024, footer_links=[], blocked_paths=[state.cfg.app.data],
        enable_monitoring=False,
    )  # fmt: skip


def _blocks(state: "State", kb: str, i18n: gr.I18n) -> gr.Blocks:
    hourly = (3600, 3600)  # when to look for copies of uploads that could not be indexed, and how old they get: seconds
    shown: list[gr.Tab] = []

    def opened(request: gr.Request) -> Any:
        user = state.users.of(request)
        return _head(user.name, request), *(gr.Tab(visible=user.may(tab.ROLE)) for tab in TABS)

    with gr.Blocks(
        title="Ragstone", analytics_enabled=False, fill_height=True, fill_width=True, delete_cache=hourly
    ) as blocks:
        head = gr.HTML(elem_id="head")
        with gr.Tabs(elem_id="tabs"):
            for tab in TABS:
                say: Any = lambda key, name=tab.NAME: i18n(f"{name}_{key}")  # noqa: E731
                with gr.Tab(say("tab"), id=tab.NAME, elem_id=f"tab-{tab.NAME}") as one:
                    tab.build(state, say, kb)
                shown.append(one)
        blocks.load(opened, None, [head, *shown], api_visibility="private", show_progress="hidden")
    return blocks


def _head(user: str, request: gr.Request) -> str:
    """What stands above the tabs: who is signed in, the other language, light or dark."""
    said = tongue(request)
    texts = {key: html.escape(text, quote=True) for key, text in chat.TEXTS[said].items()}
    other = "en" if said == "zh" else "zh"
    who = ""
    if user:
        who = (
            f'<a href="/password">{texts["signed_in"].format(html.escape(user))}</a>'
            f'<form method="post" action="/logout"><button>{texts["sign_out"]}</button></form>'
        )
    return (
        f'<div class="rs-head"><button data-page="chats" class="rs-menu" aria-label="{texts["chats"]}">☰</button>'
        f'<b>Ragstone</b><span class="rs-gap"></span>{who}'
        f'<button data-page="language" data-to="{other}" lang="{other}">{texts["language"]}</button>'
        f'<button data-page="theme" title="{texts["theme"]}" aria-label="{texts["theme"]}">◐</button></div>'
    )


def _add_routes(api: "FastAPI", state: "State") -> None:
    @api.get("/mentions")
    def mentions(request: Request, typed: str = "") -> JSONResponse:
        """What can follow `#` in a question."""
        user = state.users.require(request, "reader")
        seen = user.seen(state.bases.names())
        return JSONResponse(mention.offers(state.bases, seen, typed[:200]))

    @api.get("/chats/{chat_id}.md", response_model=None)
    def export(chat_id: str, request: Request) -> Response:
        """A conversation as Markdown."""
        user = state.users.require(request, "reader")
        text = state.chats.markdown(user.name, chat_id)
        named = {"content-disposition": 'attachment; filename="chat.md"'}
        return PlainTextResponse(text, media_type="text/markdown; charset=utf-8", headers=named)
