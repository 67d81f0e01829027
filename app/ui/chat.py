"""The Chat tab: widgets and wiring. What was said is kept by app/running/chats.py; here it is asked and shown."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import gradio as gr
from starlette.concurrency import run_in_threadpool

from app.messages.texts import TEXTS as TEXTS
from app.running.chat_folders import ever_held
from app.running.chats import Reader
from app.ui import chat_files, pressed
from app.ui.answering import Answering
from app.ui.choice import choice
from app.ui.conversation import Writing, in_panel, voted
from app.ui.markup import markup
from app.ui.render import LATEX, plain, safe_markdown
from app.ui.speaker import speaker
from app.ui.suggest import suggestions
from app.ui.together import on_load
from app.ui.views import Views
from core.errors import AccessError

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "chat", "reader"

_TWICE_S = 1.0
_PAGES = 1000  # of which it is remembered what they began
_STOP_S = 5.0
_EMPTIES_S = 0.5  # steps that come so soon after a question empty the box too: the page may apply but the last of them
_LONGEST_REASON = 200  # characters of what a vote says
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
            missing = markup("chat-missing")
            with gr.Row(elem_id="chat-line"):
                doing = gr.Markdown(elem_id="doing")
                attach = chat_files.button(say)
                gr.Button(say("passages"), size="sm", elem_id="chat-passages")  # page.js opens them on a narrow page
            box = gr.Textbox(
                placeholder=say("ask"), label=say("ask"), show_label=False, container=False, autofocus=True,
                submit_btn=True, max_lines=12, elem_id="question",
            )  # fmt: skip
            files = chat_files.line()
            with gr.Row(elem_id="chat-scope"):
                bases = choice(label=say("bases"), multiselect=True, elem_id="kb", scale=3)
                mode = gr.Checkbox(label=say("mode"), elem_id="chat-mode", scale=2)
            status = gr.Markdown(elem_id="status")
        with gr.Column(scale=4, min_width=320, elem_id="chat-evidence"):
            panel = markup("evidence")
    act, more = pressed.box("chat"), pressed.box("chat-more")
    chat = pressed.box("chat-id")  # the conversation that is shown: the browser knows it, however long it was away

    view = [chat, chatbot, panel, listed, doing]
    talk = _Talk(state, kb)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    box.submit(
        talk.ask, [box, chat, bases, mode], [box, *view], concurrency_limit=None, trigger_mode="multiple", **quiet
    )  # fmt: skip
    chatbot.retry(talk.retry, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    chatbot.edit(talk.edit, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    chatbot.example_select(talk.suggested, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    more.change(talk.go_on, [more, chat], [box, *view], concurrency_limit=None, **quiet)
    box.stop(talk.stopped, [chat, search], [box, *view], concurrency_limit=None, **quiet)
    chatbot.like(talk.like, [chat], [doing], **quiet)
    act.change(talk.act, [act, chat, search], [*view, files], **quiet)
    attach.upload(talk.attach, [attach, chat, bases, mode, search], [chat, listed, files], **quiet)
    picked.change(talk.chosen, [picked, chat, search], [*view, bases, mode, box, files], **quiet)
    search.change(talk.search, [search, chat], [listed], **quiet)
    new.click(talk.new, [search], [*view, box, files], **quiet)
    for part in (bases, mode):
        part.input(talk.settle, [chat, bases, mode], None, **quiet)
    on_load(talk.opened, [], [*view, bases, mode, attach, files, status, missing])
    gr.Timer(5).tick(speaker(state), None, [status, missing], **quiet)


class _Talk(Answering):
    """The callbacks of the tab: each answers with what is shown by then."""

    def __init__(self, state: "State", kb: str) -> None:
        super().__init__(state, kb)
        self._writing: WeakValueDictionary[str, Writing] = WeakValueDictionary()
        self._just_asked: set[tuple[str | None, str]] = set()
        self._begins: OrderedDict[str, asyncio.Future[str]] = OrderedDict()  # by page
        self._order: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by page: of what it asks
        self._views = Views()

    async def opened(self, request: gr.Request) -> Any:
        """What a page shows first: the conversation its address names, or a new one."""
        shown = await run_in_threadpool(self._opened, request)
        return *shown, *await speaker(self.state)(request)

    def _opened(self, request: gr.Request) -> list[Any]:
        said, reader = self._visitor(request)
        chosen, asked = self._choice([], reader), False
        chat_id = str(request.query_params.get("chat", ""))
        if chat_id:
            try:
                chat = self.chats.get(reader, chat_id)
                chosen, asked = self._choice(chat.bases, reader, alone=self.state.files.holds(chat_id)), chat.open_mode
            except AccessError:
                chat_id = ""
        if chat_id:
            self._turned(chat_id, request)
        shown = self._view(reader, chat_id, said)
        votes = ["Like", "Dislike", *(TEXTS[said][reason] for reason in _REASONS)]
        offered: list[Any] = [{"text": one} for one in suggestions(self.state.bases, chosen, said)]
        if chat_id:
            shown[1] = gr.Chatbot(value=shown[1], feedback_options=votes, examples=offered)
        else:  # what was asked while the page was loading stays
            shown[0], shown[4] = gr.skip(), gr.skip()
            shown[1] = gr.Chatbot(feedback_options=votes, examples=offered)
        attach = gr.UploadButton(visible=self.state.files.room(self.state.users.of(request)) > 0)
        files = chat_files.shown(self.state, reader, chat_id, said) if chat_id else gr.skip()
        return [*shown, gr.Dropdown(choices=sorted(reader.sees), value=chosen), asked, attach, files]

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
        async with self._order.setdefault(request.session_hash or "", asyncio.Lock()):
            await run_in_threadpool(self._counted, "", request, text)
            view = self._views.asks(request.session_hash, chat_id)
            view.chat = chat_id = chat_id or await self._just_begun(bases, open_mode, request)
            question = await self._put(text, chat_id, "last", request)
        steps = self._asked(question, text, chat_id, bases, open_mode, request)
        async for shown in self._views.drawn(request.session_hash, chat_id, steps):
            yield shown

    async def suggested(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.SelectData
    ) -> AsyncIterator[Any]:
        """Ask what an empty conversation suggests."""
        text = event.value.get("text") if isinstance(event.value, dict) else None
        async for shown in self.ask(text if isinstance(text, str) else "", chat_id, bases, open_mode, request):
            yield shown

    async def _just_begun(self, bases: list[str], open_mode: bool, request: gr.Request) -> str:
        """The conversation that a page begins; the same for what it asks before it has heard of its id."""
        page = request.session_hash or ""
        if not page:
            return await run_in_threadpool(self._begin, bases, open_mode, request)
        if page not in self._begins:
            self._begins[page] = asyncio.ensure_future(run_in_threadpool(self._begin, bases, open_mode, request))
            if len(self._begins) > _PAGES:
                self._begins.popitem(last=False)
        try:
            return await asyncio.shield(self._begins[page])
        except Exception:
            self._begins.pop(page, None)
            raise

    def _begin(self, bases: list[str], open_mode: bool, request: gr.Request) -> str:
        return self.chats.begin(self._visitor(request)[1], bases, open_mode).id

    async def go_on(self, what: str, chat_id: str, request: gr.Request) -> AsyncIterator[Any]:
        """Write what is still to come of the last answer, which was cut."""
        message = pressed.read(what).get("message", "")
        if not chat_id:
            yield self._skips(6)
            return
        writing = self._writing.setdefault(chat_id, Writing())
        async with writing.takes_turn():
            steps = self._gone_on(writing, chat_id, message, request)
            async for shown in self._drawn(chat_id, request, steps):
                yield shown

    async def edit(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.EditData
    ) -> AsyncIterator[Any]:
        """A changed question is asked beside the old one; a changed answer is a correction, and kept as one."""
        text = plain(str(event.value)).strip()
        branch = await run_in_threadpool(self._counted, chat_id, request)
        message = branch[min(_index(event.index), len(branch) - 1)]
        if message.role == "user":
            question = await self._put(text, chat_id, message.parent, request)
            steps = self._asked(question, text, chat_id, bases, open_mode, request)
            async for shown in self._drawn(chat_id, request, steps):
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
        branch = await run_in_threadpool(self._counted, chat_id, request)
        question = next(m for m in reversed(branch[: _index(event.index) + 1]) if m.role == "user")
        steps = self._answered(chat_id, question.id, question.text, bases, open_mode, request)
        async for shown in self._drawn(chat_id, request, steps):
            yield shown

    async def stopped(self, chat_id: str, search: str, request: gr.Request) -> Any:
        """End what is written in the conversation that is shown, and what waits there; what is there then."""
        writing = self._writing.get(chat_id)
        if writing:
            async with writing.asking:  # what is asked from now on stands behind what was stopped
                reader = await run_in_threadpool(self._owner, chat_id, request)
                writing.stop()
                for question in list(writing.waiting):
                    await run_in_threadpool(self._unanswered, writing, reader, chat_id, question)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S), writing.turn:
                    pass
            if writing.turn.locked() or writing.waiting:  # something is asked anew by now
                return self._skips(6)
        return await run_in_threadpool(self._stopped, chat_id, search, request)

    def _owner(self, chat_id: str, request: gr.Request) -> Reader:
        """Who asks. Raises `AccessError` where the conversation is none of theirs."""
        _, reader = self._visitor(request)
        self.chats.get(reader, chat_id)
        return reader

    def _unanswered(self, writing: Writing, reader: Reader, chat_id: str, question: int) -> None:
        if writing.waiting.pop(question, None):
            self.chats.reply(reader, chat_id, question, "", None, ())

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
        reason = event.liked[:_LONGEST_REASON] if isinstance(event.liked, str) else None
        voted(self.state, chat_id, message, question, vote, reason=reason)
        self.chats.vote(reader, chat_id, message.id, vote)
        return TEXTS[said]["voted_here" if ever_held(self.chats.data, chat_id) else "voted"]

    def act(self, what: str, chat_id: str, search: str, request: gr.Request) -> Any:
        """What a link in the conversation asks for, or one of its files: how it is, or that it goes."""
        told = pressed.read(what)
        if told.get("action") not in ("files", "unfile"):
            return *self._acted(told, chat_id, search, request), gr.skip()
        files = chat_files.pressed(self.state, told, chat_id, request)
        return *self._skips(), files if self._views.shows(request.session_hash, chat_id) else gr.skip()

    async def attach(
        self, files: list[str] | None, chat_id: str, bases: list[str], open_mode: bool, search: str, request: gr.Request
    ) -> Any:
        """Attach files to the conversation, which begins with them where there is none."""
        await run_in_threadpool(chat_files.check, self.state, request)
        async with self._order.setdefault(request.session_hash or "", asyncio.Lock()):
            view = self._views.asks(request.session_hash, chat_id)
            view.chat = chat_id = chat_id or await self._just_begun(bases, open_mode, request)
        reader, said, shown = await run_in_threadpool(chat_files.take, self.state, files, chat_id, request)
        return chat_id, await run_in_threadpool(self._list, reader, chat_id, said, search), shown

    def _acted(self, told: dict[str, str], chat_id: str, search: str, request: gr.Request) -> list[Any]:
        """Another branch, or the evidence of a message."""
        said, reader = self._visitor(request)
        kind, *numbers = told.get("action", "").split(":")[:3]
        if not chat_id or len(numbers) < 2 or not all(number.lstrip("-").isdigit() for number in numbers):
            return self._skips()
        if kind == "turn":
            self.chats.turn(reader, chat_id, int(numbers[0]), int(numbers[1]))
            return self._view(reader, chat_id, said, search=search)
        message, _ = self.chats.message(reader, chat_id, int(numbers[0])) or (None, "")
        chat, chatbot, _, *rest = self._skips()
        return [chat, chatbot, in_panel(message, said, int(numbers[1])), *rest]

    def chosen(self, what: str, chat_id: str, search: str, request: gr.Request) -> Any:
        """Open, pin, rename or delete a conversation of the list."""
        said, reader = self._visitor(request)
        told = pressed.read(what)
        chosen, kind = told.get("id", ""), told.get("act", "")
        if kind == "open":
            chat = self.chats.get(reader, chosen)
            self._turned(chosen, request)
            shown, writing = self._view(reader, chosen, said, search=search), self._writing.get(chosen)
            goes_on = writing is not None and writing.turn.locked()
            if writing is not None and goes_on:
                shown[1] = writing.messages(writing.shown)
            files = chat_files.shown(self.state, reader, chosen, said)
            asks = self._choice(chat.bases, reader, alone=self.state.files.holds(chosen))
            return *shown, asks, chat.open_mode, gr.Textbox(stop_btn=goes_on), files
        if kind == "rename":
            self.chats.rename(reader, chosen, told.get("title", ""))
        elif kind in ("pin", "unpin"):
            self.chats.pin(reader, chosen, kind == "pin")
        elif kind == "delete":
            self.chats.delete(reader, chosen)
            if chosen == chat_id:
                chat_id = ""
                self._turned("", request)
        return *self._view(reader, chat_id, said, search=search), *self._skips(3), gr.skip() if chat_id else ""

    def search(self, search: str, chat_id: str, request: gr.Request) -> str:
        """The conversations that hold some words."""
        said, reader = self._visitor(request)
        return self._list(reader, chat_id, said, search)

    def new(self, search: str, request: gr.Request) -> Any:
        """An empty conversation; it is made when something is asked."""
        said, reader = self._visitor(request)
        self._turned("", request)
        return *self._view(reader, "", said, search=search), gr.Textbox(value="", stop_btn=False), ""

    def _turned(self, chat_id: str, request: gr.Request) -> None:
        """The page turns to another conversation: what is asked in a new one begins it."""
        self._begins.pop(str(request.session_hash), None)
        self._views.turn(request.session_hash, chat_id)

    def _drawn(self, chat_id: str, request: gr.Request, steps: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self._views.asks(request.session_hash, chat_id)
        return self._views.drawn(request.session_hash, chat_id, steps)

    def settle(self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request) -> None:
        """Keep what the conversation asks."""
        if chat_id:
            self.chats.settle(self._visitor(request)[1], chat_id, bases, open_mode)

    async def _put(self, text: str, chat_id: str, behind: int | Literal["last"] | None, request: gr.Request) -> int:
        """Keep a question in the conversation; its id."""

        def put() -> int:
            _, reader = self._visitor(request)
            branch = self.chats.outline(reader, chat_id) if behind == "last" else []
            parent = behind if behind != "last" else branch[-1].id if branch else None
            return self.chats.ask(reader, chat_id, parent, text)

        async with self._writing.setdefault(chat_id, Writing()).asking:
            return await run_in_threadpool(put)  # what is asked at once stands one behind the other

    async def _asked(
        self, question: int, text: str, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        writing = self._writing.setdefault(chat_id, Writing())
        writing.waiting[question] = {"role": "user", "content": safe_markdown(text, {})}
        shown = writing.messages(writing.shown) if writing.turn.locked() else gr.skip()
        if not writing.turn.locked():  # else the steps of another question are shown, and a draft stays
            writing.empties_until = time.monotonic() + _EMPTIES_S
        yield gr.Textbox(value="", stop_btn=True), chat_id, shown, *self._skips(3)
        try:
            async for shown in self._answered(chat_id, question, text, bases, open_mode, request):
                yield shown
        finally:
            if question in writing.waiting:  # its page went before its turn
                _, reader = await asyncio.to_thread(self._visitor, request)
                await asyncio.to_thread(self._unanswered, writing, reader, chat_id, question)

    async def _answered(
        self, chat_id: str, question: int, text: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Search, write, keep; each step is shown. Whoever leaves or stops ends it, and what was written is kept."""
        writing = self._writing.setdefault(chat_id, Writing())
        async with writing.takes_turn() as wanted:
            if not wanted:
                return
            writing.waiting.pop(question, None)
            async for shown in self._written(writing, chat_id, question, text, bases, open_mode, request):
                yield shown


def _index(index: int | tuple[int, int]) -> int:
    return index if isinstance(index, int) else index[0]
