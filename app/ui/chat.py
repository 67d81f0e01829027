"""The Chat tab: widgets and wiring. What was said is kept by app/running/chats.py; here it is asked and shown."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.answer import Done, Found, Step, Text, answer
from app.backend import resolve
from app.errors_zh import says
from app.running.limits import caller
from app.texts import TEXTS as TEXTS
from app.texts import Tongue
from app.training.variants import variant_for
from app.ui import mention
from app.ui.conversation import conversations, in_panel, messages, voted
from app.ui.render import LATEX, evidence, plain, safe_markdown
from app.ui.visitor import tongue
from core.errors import AccessError, CatalogError, RagstoneError
from core.types import Answer

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "chat", "reader"

_SHOW_EVERY_S = 0.05  # a fast model writes more pieces than a browser can draw,
_SHOW_PER_CHARACTER_S = 2e-5  # and each time it draws the whole answer anew
_KEEP_EVERY_S = 2.0  # what is written meanwhile is kept this often: a page or an app that goes away loses no more
_REASONS = ("reason_wrong", "reason_incomplete", "reason_source", "reason_missing")


def build(state: "State", say: Any, kb: str) -> None:
    """The tab."""
    with gr.Row(equal_height=False, elem_id="chat-row"):
        with gr.Column(scale=2, min_width=210, elem_id="chat-side"):
            new = gr.Button(say("new_chat"), variant="primary", size="sm", elem_id="chat-new")
            search = gr.Textbox(placeholder=say("search_chats"), label=say("search_chats"), container=False,
                                elem_id="chat-search")  # fmt: skip
            listed = gr.HTML(elem_id="chat-list", js_on_load=_CLICKS)
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
            panel = gr.HTML(elem_id="evidence")
    chat = gr.State("")
    act = gr.HTML(elem_id="chat-act", js_on_load="window.ragstone = (action) => trigger('click', { action });")

    view = [chat, chatbot, panel, listed, doing]
    talk = _Talk(state, kb)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asking = box.submit(talk.ask, [box, chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    again = chatbot.retry(talk.retry, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    edited = chatbot.edit(talk.edit, [chat, bases, mode], [box, *view], concurrency_limit=None, **quiet)
    box.stop(talk.stopped, [chat, search], [box, *view], cancels=[asking, again, edited], **quiet)
    chatbot.like(talk.like, [chat], [doing], **quiet)
    act.click(talk.act, [chat, search], view, **quiet)
    listed.click(talk.chosen, [chat, search], [*view, bases, mode], **quiet)
    search.change(talk.search, [search, chat], [listed], **quiet)
    new.click(talk.new, [search], [*view, box], **quiet)
    for choice in (bases, mode):
        choice.input(talk.settle, [chat, bases, mode], None, **quiet)
    gr.on(None, talk.opened, None, [*view, bases, mode, status], api_visibility="private")
    gr.Timer(5).tick(_status(state), None, status, **quiet)


# What is clicked in the list of conversations: {act, id, title}.
_CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-act]');
  if (!target) return;
  const {act, id, ask, title} = target.dataset;
  if (act === 'delete' && !confirm(ask)) return;
  const named = act === 'rename' ? prompt(ask, title) : '';
  if (act === 'rename' && !named) return;
  trigger('click', {act, id, title: named});
});
"""


class _Talk:
    """The callbacks of the tab: each answers with what is shown by then."""

    def __init__(self, state: "State", kb: str) -> None:
        self.state, self.kb = state, kb

    async def opened(self, request: gr.Request) -> Any:
        """What a page shows first: the conversation its address names, or a new one."""
        said, owner, seen = self._visitor(request)
        chosen, asked = self._choice([], seen), False
        chat_id = str(request.query_params.get("chat", ""))
        if chat_id:
            try:
                chat = self.state.chats.get(owner, chat_id)
                chosen, asked = self._choice(chat.bases, seen), chat.open_mode
            except AccessError:
                chat_id = ""
        reasons = [TEXTS[said][reason] for reason in _REASONS]
        shown = self._view(owner, chat_id, said)
        shown[1] = gr.Chatbot(value=shown[1], feedback_options=["Like", "Dislike", *reasons])
        status = await _status(self.state)(request)
        return *shown, gr.Dropdown(choices=seen, value=chosen), asked, status

    async def ask(
        self, text: str, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Put a question at the end of the conversation, and show its answer as it is written."""
        if not text.strip():
            yield self._idle(text), *self._skips()
            return
        branch = self.state.chats.branch(self._owner(request), chat_id) if chat_id else []
        async for shown in self._asked(text, chat_id, bases, open_mode, branch[-1].id if branch else None, request):
            yield shown

    async def edit(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.EditData
    ) -> AsyncIterator[Any]:
        """A changed question is asked beside the old one; a changed answer is a correction, and kept as one."""
        said, owner, _ = self._visitor(request)
        branch, text = self.state.chats.branch(owner, chat_id), plain(str(event.value)).strip()
        message = branch[_index(event.index)]
        if message.role == "user":
            async for shown in self._asked(text, chat_id, bases, open_mode, message.parent, request):
                yield shown
            return
        if message.answer and message.parent and text:
            question = next(m.text for m in branch if m.id == message.parent)
            voted(self.state, chat_id, message, question, "down", correction=text)
            self.state.chats.reply(owner, chat_id, message.parent, text, message.answer)
        yield self._idle(""), *self._view(owner, chat_id, said, TEXTS[said]["corrected"])

    async def retry(
        self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request, event: gr.RetryData
    ) -> AsyncIterator[Any]:
        """Answer the question anew; the answer before it stays beside the new one."""
        branch = self.state.chats.branch(self._owner(request), chat_id)
        question = next(m for m in reversed(branch[: _index(event.index) + 1]) if m.role == "user")
        async for shown in self._answered(chat_id, question.id, question.text, bases, open_mode, request):
            yield shown

    def stopped(self, chat_id: str, search: str, request: gr.Request) -> Any:
        """What is there when writing was stopped."""
        said, owner, _ = self._visitor(request)
        return self._idle(""), *self._with_evidence_kept(self._view(owner, chat_id, said, search=search))

    def like(self, chat_id: str, request: gr.Request, event: gr.LikeData) -> str:
        """Keep a vote with the knowledge base, where answers are learnt from."""
        said, owner, _ = self._visitor(request)
        branch = self.state.chats.branch(owner, chat_id)
        message = branch[_index(event.index)]
        if message.role == "user" or message.answer is None:
            return ""
        question = next(m.text for m in branch if m.id == message.parent)
        vote = "up" if event.liked is True else "down"
        reason = event.liked if isinstance(event.liked, str) else None
        voted(self.state, chat_id, message, question, vote, reason=reason)
        self.state.chats.vote(owner, chat_id, message.id, vote)
        return TEXTS[said]["voted"]

    def act(self, chat_id: str, search: str, request: gr.Request, event: gr.EventData) -> Any:
        """What a link in the conversation asks for: another branch, or the evidence of a message."""
        said, owner, _ = self._visitor(request)
        kind, *numbers = str(event.action).split(":")[:3]
        if not chat_id or len(numbers) < 2 or not all(number.lstrip("-").isdigit() for number in numbers):
            return self._skips()
        if kind == "turn":
            self.state.chats.turn(owner, chat_id, int(numbers[0]), int(numbers[1]))
            return self._view(owner, chat_id, said, search=search)
        message = next((m for m in self.state.chats.branch(owner, chat_id) if m.id == int(numbers[0])), None)
        chat, chatbot, _, *rest = self._skips()
        return [chat, chatbot, in_panel(message, said, int(numbers[1])), *rest]

    def chosen(self, chat_id: str, search: str, request: gr.Request, event: gr.EventData) -> Any:
        """Open, rename or delete a conversation of the list."""
        said, owner, seen = self._visitor(request)
        chosen, kind = str(event.id), str(event.act)
        if kind == "open":
            chat = self.state.chats.get(owner, chosen)
            return *self._view(owner, chosen, said, search=search), self._choice(chat.bases, seen), chat.open_mode
        if kind == "rename":
            self.state.chats.rename(owner, chosen, str(event.title))
        elif kind == "delete":
            self.state.chats.delete(owner, chosen)
            chat_id = "" if chosen == chat_id else chat_id
        return *self._view(owner, chat_id, said, search=search), gr.skip(), gr.skip()

    def search(self, search: str, chat_id: str, request: gr.Request) -> str:
        """The conversations that hold some words."""
        said, owner, _ = self._visitor(request)
        return conversations(self.state.chats.latest(owner, search), chat_id, said)

    def new(self, search: str, request: gr.Request) -> Any:
        """An empty conversation; it is made when something is asked."""
        said, owner, _ = self._visitor(request)
        return *self._view(owner, "", said, search=search), self._idle("")

    def settle(self, chat_id: str, bases: list[str], open_mode: bool, request: gr.Request) -> None:
        """Keep what the conversation asks."""
        if chat_id:
            self.state.chats.settle(self._owner(request), chat_id, bases, open_mode)

    async def _asked(
        self, text: str, chat_id: str, bases: list[str], open_mode: bool, parent: int | None, request: gr.Request
    ) -> AsyncIterator[Any]:
        owner = self._owner(request)
        if not chat_id:
            chat_id = self.state.chats.begin(owner, bases, open_mode).id
        question = self.state.chats.ask(owner, chat_id, parent, text)
        async for shown in self._answered(chat_id, question, text, bases, open_mode, request):
            yield shown

    async def _answered(
        self, chat_id: str, question: int, text: str, bases: list[str], open_mode: bool, request: gr.Request
    ) -> AsyncIterator[Any]:
        """Search, write, keep; each step is shown. Whoever leaves or stops ends it, and what was written is kept."""
        said, owner, seen = self._visitor(request)
        chats, texts = self.state.chats, TEXTS[said]
        reply = chats.reply(owner, chat_id, question, "", None)
        history, before = chats.history(owner, chat_id, question), messages(chats.branch(owner, chat_id)[:-1], said)
        busy = gr.Textbox(value="", submit_btn=False, stop_btn=True)
        yield busy, chat_id, [*before, _bot("…")], evidence((), "", said), self._list(owner, chat_id, said), ""
        written, next_show, next_keep, passages = "", 0.0, time.monotonic() + _KEEP_EVERY_S, 0
        done: Answer | None = None
        trouble = ""
        try:
            asked = mention.read(text, seen)
            named = asked.named or dict.fromkeys(self._choice(bases, seen), ())
            scopes = mention.scopes(self.state.bases, named)
            if not scopes:
                raise CatalogError(texts["no_kb"])
            (index, where), *also = scopes
            cfg = self.state.cfg
            cfg = cfg.model_copy(update={"llm": variant_for(cfg.llm, chat_id).llm})
            put = asked.question or text
            events = answer(index, put, cfg, history, None, where, also=also, own_knowledge=open_mode)
            with self.state.limits.answering(caller(request, owner)):
                async with aclosing(events) as stream:
                    async for event in stream:
                        if isinstance(event, Step):
                            yield *self._skips(), texts[f"step_{event.name}"].format(event.count or passages)
                        elif isinstance(event, Found):
                            passages = len(event.sources)
                            shown = evidence(event.sources, event.query, said, (), event.trace, message=reply)
                            yield *self._skips(3), shown, *self._skips(2)
                        elif isinstance(event, Text):
                            written += event.delta
                            now = time.monotonic()
                            if now >= next_keep:
                                chats.amend(reply, written, None)
                                next_keep = now + _KEEP_EVERY_S
                            if now >= next_show:
                                next_show = now + _SHOW_EVERY_S + _SHOW_PER_CHARACTER_S * len(written)
                                yield *self._skips(2), [*before, _bot(safe_markdown(written))], *self._skips(3)
                        elif isinstance(event, Done):
                            done = event.answer
        except RagstoneError as error:
            trouble = says(error, said)
        finally:
            chats.amend(reply, done.text if done else f"{written}\n\n⚠️ {trouble}".strip() if trouble else written, done)
        line = ""
        if done:
            line = texts["said"].format(len(done.trace.queries), len(done.sources), done.seconds)
        shown = self._view(owner, chat_id, said, line)
        yield self._idle(""), *(shown if done else self._with_evidence_kept(shown))

    def _with_evidence_kept(self, shown: list[Any]) -> list[Any]:
        """What was found stays beside an answer that broke off."""
        chat_id, texts, _, *rest = shown
        return [chat_id, texts, gr.skip(), *rest]

    def _view(self, owner: str, chat_id: str, said: Tongue, doing: str = "", search: str = "") -> list[Any]:
        """Conversation, messages, the evidence of its last answer, list, what is done."""
        branch = self.state.chats.branch(owner, chat_id) if chat_id else []
        last = branch[-1] if branch else None
        return [chat_id, messages(branch, said), in_panel(last, said), self._list(owner, chat_id, said, search), doing]

    def _list(self, owner: str, chat_id: str, said: Tongue, search: str = "") -> str:
        return conversations(self.state.chats.latest(owner, search), chat_id, said)

    def _visitor(self, request: gr.Request) -> tuple[Tongue, str, list[str]]:
        """The language, the owner of conversations, and the knowledge bases that may be asked."""
        user = self.state.users.require(request, "reader")
        return tongue(request), user.name, user.seen(self.state.bases.names())

    def _owner(self, request: gr.Request) -> str:
        return self.state.users.require(request, "reader").name

    def _choice(self, bases: Sequence[str], seen: Sequence[str]) -> list[str]:
        """Those knowledge bases that may be asked; the one the app was started with where none is left."""
        return [name for name in bases if name in seen] or ([self.kb] if self.kb in seen else list(seen[:1]))

    def _idle(self, text: str) -> Any:
        return gr.Textbox(value=text, submit_btn=True, stop_btn=False)

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
