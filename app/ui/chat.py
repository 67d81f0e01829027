"""The Chat tab: widgets and wiring. What was said is kept by app/running/chats.py; here it is asked and shown."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import gradio as gr
from starlette.concurrency import run_in_threadpool

from app.answer import Done, Found, Manner, Step, Text, answer
from app.backend import resolve
from app.errors_zh import says
from app.running.chats import Message, Reader
from app.running.limits import caller
from app.texts import TEXTS as TEXTS
from app.texts import Tongue
from app.training.variants import variant_for
from app.ui import mention, pressed
from app.ui.conversation import Writing, conversations, in_panel, messages, reader_of, voted
from app.ui.markup import markup
from app.ui.render import LATEX, evidence, plain, safe_markdown
from app.ui.visitor import tongue
from core.errors import AccessError, CatalogError, RagstoneError
from core.types import Answer, Turn

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "chat", "reader"

_SHOW_EVERY_S = 0.05  # a fast model writes more pieces than a browser can draw,
_SHOW_PER_CHARACTER_S = 5e-5  # and each time it draws the whole answer anew
_TWICE_S = 1.0
_STOP_S = 5.0
_KEEP_EVERY_S = 2.0  # what is written meanwhile is kept this often: a page or an app that goes away loses no more
_REASONS = ("reason_wrong", "reason_incomplete", "reason_source", "reason_missing")


def build(state: "State", say: Any, kb: str) -> None:
    """The tab."""
    with gr.Row(equal_height=False, elem_id="chat-row"):
        with gr.Column(scale=2, min_width=210, elem_id="chat-side"):
            new = gr.Button(say("new_chat"), variant="primary", size="sm", elem_id="chat-new")
            search = gr.Textbox(placeholder=say("search_chats"), label=say("search_chats"), container=False,
                                elem_id="chat-search")  # fmt: skip
            listed, picked = markup("chat-list"), pressed.box("chat-list")
        with gr.Column(scale=6, min_width=320, elem_id="chat-main"):
            chatbot = gr.Chatbot(
                height="64vh", show_label=False, placeholder=say("welcome"), sanitize_html=True, latex_delimiters=LATEX,
                buttons=["copy"], editable="all", feedback_options=["Like", "Dislike"], elem_id="chat",
                group_consecutive_messages=False,
            )  # fmt: skip
            doing = gr.Markdown(elem_id="doing")
            box = gr.Textbox(
                placeholder=say("ask"), label=say("ask"), show_label=False, container=False, autofocus=True,
                submit_btn=True, max_lines=12, elem_id="question",
            )  # fmt: skip
            with gr.Row(elem_id="chat-scope"):
                bases = gr.Dropdown(label=say("bases"), multiselect=True, elem_id="kb", scale=3)
                mode = gr.Checkbox(label=say("mode"), elem_id="chat-mode", scale=2)
            status = gr.Markdown(elem_id="status")
        with gr.Column(scale=4, min_width=320, elem_id="chat-evidence"):
            panel = markup("evidence")
    chat = gr.State("")
    act = pressed.box("chat")

    view = [chat, chatbot, panel, listed, doing]
    talk = _Talk(state, kb)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asking = box.submit(
        talk.ask, [box, chat, bases, mode], [box, *view], concurrency_limit=None, trigger_mode="multiple", **quiet
    )  # fmt: skip
    again = chatbot.retry(talk.retry, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    edited = chatbot.edit(talk.edit, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    box.stop(None, cancels=[asking, again, edited], **quiet)  # a function given here would run to its end before it
    box.stop(talk.stopped, [chat, search], [box, *view], **quiet)
    chatbot.like(talk.like, [chat], [doing], **quiet)
    act.change(talk.act, [act, chat, search], view, **quiet)
    picked.change(talk.chosen, [picked, chat, search], [*view, bases, mode], **quiet)
    search.change(talk.search, [search, chat], [listed], **quiet)
    new.click(talk.new, [search], [*view, box], **quiet)
    for choice in (bases, mode):
        choice.input(talk.settle, [chat, bases, mode], None, **quiet)
    gr.on(None, talk.opened, None, [*view, bases, mode, status], api_visibility="private")
    gr.Timer(5).tick(_status(state), None, status, **quiet)


class _Talk:
    """The callbacks of the tab: each answers with what is shown by then."""

    def __init__(self, state: "State", kb: str) -> None:
        self.state, self.chats, self.kb = state, state.chats, kb
        self._writing: WeakValueDictionary[str, Writing] = WeakValueDictionary()
        self._just_asked: set[tuple[str | None, str]] = set()

    async def opened(self, request: gr.Request) -> Any:
        """What a page shows first: the conversation its address names, or a new one."""
        shown = await run_in_threadpool(self._opened, request)
        return *shown, await _status(self.state)(request)

    def _opened(self, request: gr.Request) -> list[Any]:
        said, reader = self._visitor(request)
        chosen, asked = self._choice([], reader), False
        chat_id = str(request.query_params.get("chat", ""))
        if chat_id:
            try:
                chat = self.chats.get(reader, chat_id)
                chosen, asked = self._choice(chat.bases, reader), chat.open_mode
            except AccessError:
                chat_id = ""
        shown = self._view(reader, chat_id, said)
        votes = ["Like", "Dislike", *(TEXTS[said][reason] for reason in _REASONS)]
        if chat_id:
            shown[1] = gr.Chatbot(value=shown[1], feedback_options=votes)
        else:  # what was asked while the page was loading stays
            shown[0], shown[1], shown[4] = gr.skip(), gr.Chatbot(feedback_options=votes), gr.skip()
        return [*shown, gr.Dropdown(choices=sorted(reader.sees), value=chosen), asked]

    async def ask(
        self, text: str, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Put a question at the end of the conversation, and show its answer as it is written."""
        twice = (request.session_hash, text)  # Enter again, before the box is seen to be empty
        if not text.strip() or twice in self._just_asked:
            yield self._skips(6)
            return
        self._just_asked.add(twice)
        asyncio.get_running_loop().call_later(_TWICE_S, self._just_asked.discard, twice)
        branch = await run_in_threadpool(self._outline, chat_id, request)
        async for shown in self._asked(text, chat_id, bases, open_mode, branch[-1].id if branch else None, request):
            yield shown

    async def edit(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.EditData
    ) -> AsyncIterator[Any]:
        """A changed question is asked beside the old one; a changed answer is a correction, and kept as one."""
        text = plain(str(event.value)).strip()
        branch = await run_in_threadpool(self._outline, chat_id, request)
        message = branch[min(_index(event.index), len(branch) - 1)]
        if message.role == "user":
            async for shown in self._asked(text, chat_id, bases, open_mode, message.parent, request):
                yield shown
            return
        yield gr.skip(), *await run_in_threadpool(self._corrected, chat_id, message.id, text, request)

    def _corrected(self, chat_id: str, answer: int, text: str, request: gr.Request) -> list[Any]:
        said, reader = self._visitor(request)
        found = self.chats.message(reader, chat_id, answer)
        if found and found[0].answer and found[0].parent and text:
            message, question = found
            voted(self.state, chat_id, message, question, "down", correction=text)
            self.chats.reply(reader, chat_id, found[0].parent, text, message.answer, message.rests_on)
        return self._view(reader, chat_id, said, TEXTS[said]["corrected"])

    async def retry(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.RetryData
    ) -> AsyncIterator[Any]:
        """Answer the question anew; the answer before it stays beside the new one."""
        branch = await run_in_threadpool(self._outline, chat_id, request)
        question = next(m for m in reversed(branch[: _index(event.index) + 1]) if m.role == "user")
        async for shown in self._answered(chat_id, question.id, question.text, bases, open_mode, request):
            yield shown

    async def stopped(self, chat_id: str, search: str, request: gr.Request) -> Any:
        """What is there when writing was stopped: once it has come to its end, after which nothing more is shown."""
        writing = self._writing.get(chat_id)
        if writing:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S), writing.turn:
                    pass
            if writing.turn.locked() or writing.waiting:  # something is asked anew by now
                return self._skips(6)
        return await run_in_threadpool(self._stopped, chat_id, search, request)

    def _stopped(self, chat_id: str, search: str, request: gr.Request) -> list[Any]:
        said, reader = self._visitor(request)
        shown = self._with_evidence_kept(self._view(reader, chat_id, said, search=search))
        return [gr.Textbox(stop_btn=False), *shown]

    def like(self, chat_id: str, request: gr.Request, event: gr.LikeData) -> str:
        """Keep a vote with the knowledge base, where answers are learnt from."""
        said, reader = self._visitor(request)
        branch = self.chats.outline(reader, chat_id)
        liked = branch[min(_index(event.index), len(branch) - 1)]
        message, question = self.chats.message(reader, chat_id, liked.id) or (liked, "")
        if message.answer is None:
            return ""
        vote = "up" if event.liked is True else "down"
        reason = event.liked if isinstance(event.liked, str) else None
        voted(self.state, chat_id, message, question, vote, reason=reason)
        self.chats.vote(reader, chat_id, message.id, vote)
        return TEXTS[said]["voted"]

    def act(self, what: str, chat_id: str, search: str, request: gr.Request) -> Any:
        """What a link in the conversation asks for: another branch, or the evidence of a message."""
        said, reader = self._visitor(request)
        kind, *numbers = pressed.read(what).get("action", "").split(":")[:3]
        if not chat_id or len(numbers) < 2 or not all(number.lstrip("-").isdigit() for number in numbers):
            return self._skips()
        if kind == "turn":
            self.chats.turn(reader, chat_id, int(numbers[0]), int(numbers[1]))
            return self._view(reader, chat_id, said, search=search)
        message, _ = self.chats.message(reader, chat_id, int(numbers[0])) or (None, "")
        chat, chatbot, _, *rest = self._skips()
        return [chat, chatbot, in_panel(message, said, int(numbers[1])), *rest]

    def chosen(self, what: str, chat_id: str, search: str, request: gr.Request) -> Any:
        """Open, rename or delete a conversation of the list."""
        said, reader = self._visitor(request)
        told = pressed.read(what)
        chosen, kind = told.get("id", ""), told.get("act", "")
        if kind == "open":
            chat = self.chats.get(reader, chosen)
            return *self._view(reader, chosen, said, search=search), self._choice(chat.bases, reader), chat.open_mode
        if kind == "rename":
            self.chats.rename(reader, chosen, told.get("title", ""))
        elif kind == "delete":
            self.chats.delete(reader, chosen)
            chat_id = "" if chosen == chat_id else chat_id
        return *self._view(reader, chat_id, said, search=search), gr.skip(), gr.skip()

    def search(self, search: str, chat_id: str, request: gr.Request) -> str:
        """The conversations that hold some words."""
        said, reader = self._visitor(request)
        return self._list(reader, chat_id, said, search)

    def new(self, search: str, request: gr.Request) -> Any:
        """An empty conversation; it is made when something is asked."""
        said, reader = self._visitor(request)
        return *self._view(reader, "", said, search=search), gr.Textbox(value="", stop_btn=False)

    def settle(self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request) -> None:
        """Keep what the conversation asks."""
        if chat_id:
            self.chats.settle(self._visitor(request)[1], chat_id, bases, open_mode)

    async def _asked(
        self, text: str, chat_id: str, bases: list[str], open_mode: bool, parent: int | None, request: gr.Request
    ) -> AsyncIterator[Any]:
        def put() -> tuple[str, int]:
            _, reader = self._visitor(request)
            chat = chat_id or self.chats.begin(reader, bases, open_mode).id
            return chat, self.chats.ask(reader, chat, parent, text)

        chat_id, question = await run_in_threadpool(put)
        writing = self._writing.setdefault(chat_id, Writing())
        writing.waiting[question] = {"role": "user", "content": safe_markdown(text, {})}
        shown = writing.messages(writing.shown) if writing.turn.locked() else gr.skip()
        yield gr.Textbox(value="", stop_btn=True), chat_id, shown, *self._skips(3)
        try:
            async for shown in self._answered(chat_id, question, text, bases, open_mode, request):
                yield shown
        finally:
            if writing.waiting.pop(question, None):  # stopped before its turn
                _, reader = await asyncio.to_thread(self._visitor, request)
                await asyncio.to_thread(self.chats.reply, reader, chat_id, question, "", None, ())

    async def _answered(
        self, chat_id: str, question: int, text: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Search, write, keep; each step is shown. Whoever leaves or stops ends it, and what was written is kept."""
        writing = self._writing.setdefault(chat_id, Writing())
        async with writing.turn:
            writing.waiting.pop(question, None)
            async for shown in self._written(writing, chat_id, question, text, bases, open_mode, request):
                yield shown

    async def _written(
        self, writing: Writing, chat_id: str, question: int, text: str, bases: list[str], open_mode: bool,
        request: gr.Request,
    ) -> AsyncIterator[Any]:  # fmt: skip
        said, reader = await run_in_threadpool(self._visitor, request)
        chats, texts = self.chats, TEXTS[said]
        asked = mention.read(text, reader.sees)
        named = asked.named or dict.fromkeys(self._choice(bases, reader), ())
        reply, history, before, listed = await run_in_threadpool(self._begun, reader, chat_id, question, named, said)
        messages = writing.messages([*before, _bot("…")])
        yield gr.Textbox(stop_btn=True), chat_id, messages, evidence((), "", said), listed, ""
        written, next_show, next_keep, passages = "", 0.0, time.monotonic() + _KEEP_EVERY_S, 0
        done: Answer | None = None
        trouble = ""
        try:
            if not named:
                raise CatalogError(texts["no_kb"])
            with self.state.limits.admit(caller(request, reader.owner)):
                (index, where), *also = await asyncio.to_thread(mention.scopes, self.state.bases, named)
                cfg = self.state.cfg
                cfg = cfg.model_copy(update={"llm": variant_for(cfg.llm, chat_id).llm})
                put = asked.question or text
                events = answer(index, put, cfg, history, None, where, also=also, manner=Manner(open_mode))
                async with aclosing(events) as stream:
                    async for event in stream:
                        if isinstance(event, Step):
                            yield *self._skips(), texts[f"step_{event.name}"].format(event.count or passages)
                        elif isinstance(event, Found):
                            passages = len(event.sources)
                            shown = evidence(event.sources, event.query, said, (), event.trace, message=reply)
                            yield *self._skips(3), shown, *self._skips(2)
                        elif isinstance(event, Text):
                            written = "" if event.anew else written + event.delta
                            now = time.monotonic()
                            if now >= next_keep:
                                await run_in_threadpool(chats.amend, reply, written, None)
                                next_keep = now + _KEEP_EVERY_S
                            if now >= next_show:
                                next_show = now + _SHOW_EVERY_S + _SHOW_PER_CHARACTER_S * len(written)
                                messages = writing.messages([*before, _bot(safe_markdown(written))])
                                yield *self._skips(2), messages, *self._skips(3)
                        elif isinstance(event, Done):
                            done = event.answer
        except RagstoneError as error:
            trouble = says(error, said)
        finally:
            kept = done.text if done else f"{written}\n\n⚠️ {trouble}".strip() if trouble else written
            await asyncio.to_thread(chats.amend, reply, kept, done)  # begins at once, even where this was cancelled
        line = ""
        if done:
            line = texts["said"].format(len(done.trace.queries), len(done.sources), done.seconds)
        shown = await run_in_threadpool(self._ended, chat_id, line, request)
        yield gr.Textbox(stop_btn=bool(writing.waiting)), *(shown if done else self._with_evidence_kept(shown))

    def _begun(
        self, reader: Reader, chat_id: str, question: int, named: Collection[str], said: Tongue
    ) -> tuple[int, list[Turn], list[dict[str, str]], str]:
        """An empty answer to a question, the conversation before it for the model and for the page, and the list."""
        history, rests_on = self.chats.history(reader, chat_id, question)
        reply = self.chats.reply(reader, chat_id, question, "", None, rests_on.union(named))
        branch = self.chats.branch(reader, chat_id)
        end = next((n for n, message in enumerate(branch) if message.id == question), len(branch))
        before = messages(branch[: end + 1], said)
        return reply, history, before, self._list(reader, chat_id, said)

    def _ended(self, chat_id: str, doing: str, request: gr.Request) -> list[Any]:
        said, reader = self._visitor(request)  # who may see less by now is shown less
        return self._view(reader, chat_id, said, doing)

    def _with_evidence_kept(self, shown: list[Any]) -> list[Any]:
        """What was found stays beside an answer that broke off."""
        chat_id, texts, _, *rest = shown
        return [chat_id, texts, gr.skip(), *rest]

    def _view(self, reader: Reader, chat_id: str, said: Tongue, doing: str = "", search: str = "") -> list[Any]:
        """Conversation, messages, the evidence of its last answer, list, what is done."""
        branch = self.chats.branch(reader, chat_id) if chat_id else []
        last = next((message for message in reversed(branch) if message.role == "assistant"), None)
        shown = messages(branch, said)
        if branch and branch[-1].role == "user":
            shown.append(_bot(f"*{TEXTS[said]['unanswered']}*"))
        return [chat_id, shown, in_panel(last, said), self._list(reader, chat_id, said, search), doing]

    def _list(self, reader: Reader, chat_id: str, said: Tongue, search: str = "") -> str:
        return conversations(self.chats.latest(reader, search), chat_id, said)

    def _outline(self, chat_id: str, request: gr.Request) -> list[Message]:
        _, reader = self._visitor(request)
        return self.chats.outline(reader, chat_id) if chat_id else []

    def _visitor(self, request: gr.Request) -> tuple[Tongue, Reader]:
        """The language, and whose conversations are shown and with what may be seen."""
        user = self.state.users.require(request, "reader")
        return tongue(request), reader_of(self.state, user)

    def _choice(self, bases: Sequence[str], reader: Reader) -> list[str]:
        """Those knowledge bases that may be asked; the one the app was started with where none is left."""
        first = [self.kb] if self.kb in reader.sees else sorted(reader.sees)[:1]
        return [name for name in bases if name in reader.sees] or first

    def _skips(self, count: int = 5) -> list[Any]:
        return [gr.skip()] * count


def _bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _index(index: int | tuple[int, int]) -> int:
    return index if isinstance(index, int) else index[0]


def _status(state: "State") -> Any:
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
