"""The Chat tab: widgets and wiring. A callback calls one recipe and shows what it yields."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.answer import Done, Found, Text, answer
from app.backend import HOW_TO, resolve
from app.index import Report, language_notes
from app.texts import TEXTS
from app.ui.render import evidence, plain, safe_markdown
from app.ui.visitor import tongue
from core.errors import RagstoneError
from core.types import Answer, Source, Trace, Turn

if TYPE_CHECKING:
    from app.bases import State

NAME, ROLE = "chat", "reader"

_SHOW_EVERY_S = 0.05  # a fast model writes more pieces than a browser can draw


def build(state: "State", say: Any, kb: str) -> None:
    """The tab."""
    import gradio as gr

    with gr.Row(equal_height=False, elem_classes="rs-page-row"):
        # The chat is given the components beside it, so these are made first; the style sheet puts them to the right.
        with gr.Column(scale=2, min_width=320):
            chosen = gr.Dropdown(label=say("kb"), elem_id="kb")
            blind = gr.Markdown(elem_id="blind")
            panel = gr.HTML(elem_id="evidence")
            files = gr.File(label=say("upload_files"), file_count="multiple", elem_id="files")
            target = gr.Textbox(label=say("upload_kb"), value=kb, elem_id="target")
            button = gr.Button(say("upload"), variant="primary", elem_id="upload")
            report = gr.Markdown(elem_id="report")
        with gr.Column(scale=3, min_width=320):
            status = gr.Markdown(elem_id="status")
            chatbot = gr.Chatbot(
                height="68vh", show_label=False, placeholder=say("welcome"), sanitize_html=True,
                latex_delimiters=[], buttons=["copy"], elem_id="chat",
            )  # fmt: skip
            box = gr.Textbox(
                placeholder=say("ask"), show_label=False, container=False, autofocus=True, submit_btn=True,
                stop_btn=True, elem_id="question",
            )  # fmt: skip
            gr.ChatInterface(
                _responder(state), chatbot=chatbot, textbox=box, additional_inputs=[chosen],
                additional_outputs=[panel], editable=True, flagging_mode="never", analytics_enabled=False,
                api_visibility="private", concurrency_limit=None, fill_height=False,
            )  # fmt: skip
    button.click(_uploader(state), [files, target], [report, chosen, files], api_visibility="private")
    gr.on(None, _opener(state, kb), None, [chosen, status, panel], api_visibility="private")
    chosen.change(_blind_spots(state), chosen, blind, api_visibility="private", show_progress="hidden")
    gr.Timer(5).tick(_status(state), None, status, api_visibility="private", show_progress="hidden")


def _responder(state: "State") -> Any:
    import gradio as gr

    async def respond(message: str, history: list[dict[str, Any]], kb: str, request: gr.Request) -> AsyncIterator[Any]:
        said = tongue(request)
        if not message.strip():
            yield "", evidence((), "", said)
            return
        turns = [Turn("user" if m["role"] == "user" else "assistant", _text(m["content"])) for m in history]
        text, sources, query, next_show, trace = "", (), "", 0.0, Trace()
        try:
            index = state.bases.get(kb) if kb else None
            if index is None:
                yield TEXTS[said]["no_kb"], evidence((), "", said)
                return
            async with aclosing(answer(index, message, state.cfg, turns)) as events:
                async for event in events:
                    if isinstance(event, Found):
                        sources, query, trace = event.sources, event.query, event.trace
                        yield "…", evidence(sources, query, said, (), trace)
                    elif isinstance(event, Text):
                        text += event.delta
                        if time.monotonic() >= next_show:
                            next_show = time.monotonic() + _SHOW_EVERY_S
                            yield safe_markdown(text), gr.skip()
                    elif isinstance(event, Done):
                        yield _finished(event.answer), _cited_evidence(event.answer, sources, said)
        except RagstoneError as error:
            shown = f"{safe_markdown(text)}\n\n" if text else ""
            yield f"{shown}⚠️ {safe_markdown(str(error))}", evidence(sources, query, said, (), trace)

    return respond


def _finished(done: Answer) -> str:
    """The answer and what its reader should know; that no model is configured stands in the status line already."""
    notes = "".join(f"\n\n> {safe_markdown(note)}" for note in done.notes if note != HOW_TO)
    return safe_markdown(done.text) + notes


def _cited_evidence(done: Answer, sources: tuple[Source, ...], said: Any) -> str:
    return evidence(sources, done.query, said, {c.n for c in done.citations}, done.trace)


def _text(content: Any) -> str:
    """The text of a message that Gradio hands back as it was shown: a string, or parts of which some are text."""
    if isinstance(content, str):
        return plain(content)
    return plain("".join(part.get("text", "") for part in content if isinstance(part, dict)))


def _uploader(state: "State") -> Any:
    import gradio as gr

    def upload(files: list[str] | None, kb: str, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        said = tongue(request)
        if not files:
            return TEXTS[said]["upload_none"], gr.skip(), gr.skip()
        progress(0, desc=TEXTS[said]["uploading"])

        def show(stage: str, done: int, total: int) -> None:
            progress((done, total) if total else 0, desc=stage)

        try:
            report = state.bases.upload(kb.strip(), [Path(file) for file in files], show)
        except RagstoneError as error:
            return f"⚠️ {safe_markdown(str(error))}", gr.skip(), gr.skip()
        for file in files:  # the copy that Gradio received: the knowledge base has its own
            Path(file).unlink(missing_ok=True)
        choices = state.bases.names()
        return _summary(report), gr.Dropdown(choices=choices, value=kb.strip()), None

    return upload


def _blind_spots(state: "State") -> Any:
    import gradio as gr

    def note(kb: str | None, request: gr.Request) -> str:
        """What the embedder cannot read in this knowledge base, and which models would."""
        said = tongue(request)
        try:
            notes = language_notes(state.bases.get(kb), said) if kb else []
            return " ".join(f"⚠️ {safe_markdown(text)}" for text in notes)
        except RagstoneError as error:
            return f"⚠️ {safe_markdown(str(error))}"

    return note


def _summary(report: Report) -> str:
    lines = [
        f"**+{report.added}** / ~{report.changed} / -{report.deleted} · {report.chunks} chunks · "
        f"{report.embedded} embedded · {report.seconds:.1f} s"
    ]
    lines += [safe_markdown(f"- ⚠️ `{f.path}`: {f.error}. {f.hint}") for f in report.failed]
    lines += [f"- {safe_markdown(note)}" for note in report.notes]
    return "\n".join(lines)


def _opener(state: "State", kb: str) -> Any:
    import gradio as gr

    async def load(request: gr.Request) -> Any:
        said = tongue(request)
        choices = state.bases.names()
        value = kb if kb in choices else (choices[0] if choices else None)
        status = await _status(state)(request)
        return gr.Dropdown(choices=choices, value=value), status, evidence((), "", said)

    return load


def _status(state: "State") -> Any:
    import gradio as gr

    async def status(request: gr.Request) -> str:
        """One line: who speaks."""
        texts = TEXTS[tongue(request)]
        if state.vllm_status:
            return f"⏳ {texts['starting']}: {safe_markdown(state.vllm_status[:300])}"
        try:
            backend = await resolve(state.cfg.llm)
        except RagstoneError as error:
            return f"⚠️ {safe_markdown(str(error))}"
        if backend.endpoint is None:
            failures = " ".join(backend.notes) if state.cfg.llm.base_url else ""
            return f"ℹ️ {safe_markdown(failures)} {texts['extractive'] if not failures else ''}"
        return f"{texts['speaks']}: **{safe_markdown(backend.model)}** ({backend.name})"

    return status
