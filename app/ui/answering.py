"""An answer on the page as it is written, and gone on with: each step is shown, and what was written is kept."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.concurrency import run_in_threadpool

from app.answering.answer import Done, Event, Found, Step, Text, answer
from app.answering.continuing import go_on, whole_words
from app.answering.plan import Manner, checked, planned
from app.messages.errors_zh import says
from app.messages.texts import TEXTS, Tongue, tongue
from app.running.chat_folders import ever_held, home_of
from app.running.chats import Message, Reader
from app.running.limits import LimitError, caller
from app.running.standing import guarded
from app.training.variants import variant_for
from app.ui import knowledge_job, mention
from app.ui.conversation import Writing, conversations, in_panel, messages, reader_of
from app.ui.render import evidence, safe_markdown
from core.config import Config
from core.errors import AccessError, CatalogError, RagstoneError
from core.types import Answer, Turn

if TYPE_CHECKING:
    from app.running.bases import State

_SHOW_EVERY_S = 0.05  # a fast model writes more pieces than a browser can draw,
_SHOW_PER_CHARACTER_S = 5e-5  # and each time it draws the whole answer anew
_LOOK_EVERY_S = 0.2  # whether the files of the conversation are read
_KEEP_EVERY_S = 2.0  # what is written meanwhile is kept this often: a page or an app that goes away loses no more


@dataclass(slots=True)
class _Answering:
    """An answer that is being written: its message, behind what is shown before it; `begun` is what was there of it."""

    reply: int
    before: list[dict[str, str]]
    keep: Callable[[str], None]
    begun: str = ""
    written: str = ""
    done: Answer | None = None


class Answering:
    """What the callbacks of the tab share: whose conversations they are, and how an answer comes into one."""

    def __init__(self, state: "State", kb: str) -> None:
        self.state, self.chats, self.kb = state, state.chats, kb

    async def _written(
        self, writing: Writing, chat_id: str, question: int, text: str, bases: list[str], open_mode: bool,
        request: gr.Request,
    ) -> AsyncIterator[Any]:  # fmt: skip
        said, reader = await run_in_threadpool(self._visitor, request)
        chats, texts = self.chats, TEXTS[said]
        asked = mention.read(text, reader.sees)
        files = await run_in_threadpool(self.state.files.holds, chat_id)
        named = asked.named or dict.fromkeys(self._choice(bases, reader, alone=files), ())
        begun = await run_in_threadpool(self._begun, reader, chat_id, question, named, said)
        reply, needed, history, before, listed = begun
        shown = writing.messages([*before, bot("…")])
        first = (chat_id, shown, evidence((), "", said), listed, "")
        yield writing.box(), *first
        own = _Answering(reply, before, lambda written: chats.amend(reply, written, None))
        trouble = line = ""
        try:
            if not named and not files:
                raise CatalogError(texts["no_kb"])
            with self.state.limits.admit(caller(request, reader.owner), taken=True):
                await asyncio.to_thread(self.state.usage.count, reader.owner, "page", named)
                put = mention.Asked(asked.question or text, named)
                manner = Manner(open_mode, before=frozenset(needed))
                events = self._answers(reader, chat_id, put, history, manner)
                events = guarded(self.state, request, reader.owner, needed, events)
                async with aclosing(self._streamed(events, own, writing, said)) as stream:
                    async for step in _whole(writing, first, stream):
                        yield step
        except RagstoneError as error:
            trouble = says(error, said)
            line = f"⚠️ {safe_markdown(trouble)}" if isinstance(error, AccessError) else ""
        finally:
            done = own.done
            kept = done.text if done else f"{own.written}\n\n⚠️ {trouble}".strip() if trouble else own.written
            await asyncio.to_thread(chats.amend, reply, kept, done)  # begins at once, even where this was cancelled
        if done:
            line = texts["said"].format(len(done.trace.queries), len(done.sources), done.seconds)
        shown = await run_in_threadpool(self._ended, chat_id, line, said, request)
        if not done and shown[0]:
            shown = self._with_evidence_kept(shown)
        yield gr.Textbox(stop_btn=bool(writing.waiting)), *shown

    async def _answers(
        self, reader: Reader, chat_id: str, asked: mention.Asked, history: Sequence[Turn], manner: Manner
    ) -> AsyncGenerator[Event, None]:
        """The answer from knowledge bases and from the files of the conversation, once these are read."""
        await asyncio.to_thread(self.state.files.files, reader, chat_id)  # by which what is not read begins to be
        told = 0
        while count := await asyncio.to_thread(self.state.files.busy, chat_id):
            if count != told:
                yield Step("attach", told := count)
            await asyncio.sleep(_LOOK_EVERY_S)
        places = await asyncio.to_thread(mention.scopes, self.state.bases, asked.named)
        dropped = await asyncio.to_thread(self.state.files.scope, reader, chat_id)
        (index, where), *also = [*places, *([dropped] if dropped else [])] or await asyncio.to_thread(
            mention.scopes, self.state.bases, dict.fromkeys(self._choice([], reader), ())
        )
        plan = await planned(await asyncio.to_thread(self._settings, chat_id), index.home, manner)
        attached = dropped[0] if dropped else None
        async with aclosing(
            answer(index, asked.question, plan, history, where, also=also, attached=attached)
        ) as events:
            async for event in events:
                yield event

    async def _gone_on(self, writing: Writing, chat_id: str, asked: str, request: gr.Request) -> AsyncIterator[Any]:
        """Write what is still to come of an answer that was cut, in its place."""
        said, reader = await run_in_threadpool(self._visitor, request)
        branch = await run_in_threadpool(self.chats.branch, reader, chat_id)
        last = branch[-1] if branch else None
        if last is None or str(last.id) != asked or last.answer is None or last.answer.finish != "length":
            yield self._skips(6)
            return
        message, cut, line = last.id, last.answer, ""
        begun = whole_words(cut.text)

        def keep(written: str) -> None:
            self.chats.amend(message, written, replace(cut, text=written))

        own = _Answering(message, messages(branch[:-1], said), keep, begun, begun)
        shown = writing.messages([*own.before, bot(safe_markdown(begun))])
        first = (chat_id, shown, *self._skips(3))
        yield writing.box(), *first
        try:
            with self.state.limits.admit(caller(request, reader.owner)):
                kbs = [source.hit.kb for source in cut.sources if source.hit.kb in reader.sees]
                kbs = [*kbs, *self._choice([], reader)]
                index = await asyncio.to_thread(self.state.bases.get, kbs[0]) if kbs else None
                home = index.home if index else home_of(self.chats.data, chat_id)
                needed = {name: known for name, known in reader.sees.items() if known in last.rests_on}
                plan = await planned(await asyncio.to_thread(self._settings, chat_id), home)
                events = guarded(self.state, request, reader.owner, needed, go_on(cut, plan))
                async with aclosing(self._streamed(events, own, writing, said)) as stream:
                    async for step in _whole(writing, first, stream):
                        yield step
        except RagstoneError as error:
            line = f"⚠️ {safe_markdown(says(error, said))}"
        finally:
            if own.done:
                await asyncio.to_thread(self.chats.amend, message, own.done.text, own.done)
            elif own.written != begun:
                await asyncio.to_thread(keep, own.written)
        if own.done:
            line = TEXTS[said]["said"].format(len(own.done.trace.queries), len(own.done.sources), own.done.seconds)
        shown = await run_in_threadpool(self._ended, chat_id, line, said, request)
        yield gr.Textbox(stop_btn=bool(writing.waiting)), *shown

    async def _streamed(
        self, events: AsyncGenerator[Event, None], own: _Answering, writing: Writing, said: Tongue
    ) -> AsyncGenerator[Any, None]:
        """What is shown of an answer with each event, which is taken down in `own`, and kept now and then."""
        next_show, next_keep, passages = 0.0, time.monotonic() + _KEEP_EVERY_S, 0
        async with aclosing(writing.until_stopped(events)) as stream:
            async for event in stream:
                if isinstance(event, Step):
                    line = TEXTS[said][f"step_{event.name}"].format(event.count or passages)
                    yield *self._skips(), f"{line} {safe_markdown(event.text, {})}" if event.text else line
                elif isinstance(event, Found):
                    passages = len(event.sources)
                    await run_in_threadpool(self.chats.found, own.reply, event.sources)
                    shown = evidence(event.sources, event.query, said, (), event.trace, message=own.reply)
                    yield *self._skips(3), shown, *self._skips(2)
                elif isinstance(event, Text):
                    writing.empties_until = 0.0  # who sees words may be typing the next question
                    own.written = own.begun if event.anew else own.written + event.delta
                    now = time.monotonic()
                    if now >= next_keep:
                        await run_in_threadpool(own.keep, own.written)
                        next_keep = now + _KEEP_EVERY_S
                    if now >= next_show:
                        next_show = now + _SHOW_EVERY_S + _SHOW_PER_CHARACTER_S * len(own.written)
                        yield (
                            *self._skips(2),
                            writing.messages([*own.before, bot(safe_markdown(own.written))]),
                            *self._skips(3),
                        )
                elif isinstance(event, Done):
                    own.done = event.answer

    def _settings(self, chat_id: str) -> Config:
        """The settings for a conversation; what is asked in one that held files of its own is kept nowhere else."""
        cfg = self.state.cfg
        kept = cfg.app.keep_unanswered and not ever_held(self.chats.data, chat_id)
        app = cfg.app.model_copy(update={"keep_unanswered": kept})
        return cfg.model_copy(update={"llm": variant_for(cfg.llm, chat_id).llm, "app": app})

    def _begun(
        self, reader: Reader, chat_id: str, question: int, named: Collection[str], said: Tongue
    ) -> tuple[int, dict[str, str], list[Turn], list[dict[str, str]], str]:
        """An empty answer to a question, the knowledge bases that it rests on, the conversation before it for the model
        and for the page, and the list.
        """
        history, rests_on = self.chats.history(reader, chat_id, question)
        rests_on = rests_on.union(reader.sees[name] for name in named)
        reply = self.chats.reply(reader, chat_id, question, "", None, rests_on)
        branch = self.chats.branch(reader, chat_id)
        end = next((n for n, message in enumerate(branch) if message.id == question), len(branch))
        before = messages(branch[: end + 1], said)
        needed = {name: known for name, known in reader.sees.items() if known in rests_on}
        return reply, needed, history, before, self._list(reader, chat_id, said)

    def _ended(self, chat_id: str, doing: str, said: Tongue, request: gr.Request) -> list[Any]:
        """What is there once an answer came to its end: less to whoever may see less by now."""
        try:
            said, reader = self._visitor(request)
            return self._view(reader, chat_id, said, doing)
        except AccessError as error:  # nothing here is theirs any more
            return ["", [bot(doing or f"⚠️ {safe_markdown(says(error, said))}")], evidence((), "", said), "", ""]

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
            shown.append(bot(f"*{TEXTS[said]['unanswered']}*"))
        return [chat_id, shown, in_panel(last, said), self._list(reader, chat_id, said, search), doing]

    def _list(self, reader: Reader, chat_id: str, said: Tongue, search: str = "") -> str:
        return conversations(self.chats.latest(reader, search), chat_id, said)

    def _counted(self, chat_id: str, request: gr.Request, question: str = "") -> list[Message]:
        """Count a question, before anything of it is kept; the messages that are shown."""
        said, reader = self._visitor(request)
        try:
            checked(question)
            self.state.limits.take(caller(request, reader.owner))
        except (CatalogError, LimitError) as error:
            raise knowledge_job.shown(error, said) from None
        return self.chats.outline(reader, chat_id) if chat_id else []

    def _visitor(self, request: gr.Request) -> tuple[Tongue, Reader]:
        """The language, and whose conversations are shown and with what may be seen."""
        user = self.state.users.require(request, "reader")
        return tongue(request), reader_of(self.state, user)

    def _choice(self, bases: Sequence[str], reader: Reader, *, alone: bool = False) -> list[str]:
        """Those knowledge bases that may be asked; the one the app was started with where none is left.

        `alone`: none where none is chosen, since the conversation has files, which are asked alone then.
        """
        if alone and not bases:
            return []
        first = [self.kb] if self.kb in reader.sees else sorted(reader.sees)[:1]
        return [name for name in bases if name in reader.sees] or first

    def _skips(self, count: int = 5) -> list[Any]:
        return [gr.skip()] * count


def bot(text: str) -> dict[str, str]:
    """An answer as the chat shows it."""
    return {"role": "assistant", "content": text}


async def _whole(writing: Writing, before: Sequence[Any], steps: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Each step with all that was shown until then; what is as it was is not sent.

    Of two steps that come within one frame the page applies the last alone (gradio 6.31).
    """
    async for _, *step in steps:
        before = [old if new == gr.skip() else new for old, new in zip(before, step, strict=True)]
        yield writing.box(), *before
