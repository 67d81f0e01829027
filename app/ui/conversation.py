"""A conversation as it is shown: its list entry, its messages, the evidence of one of them; and votes on answers."""

import asyncio
import html
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import gradio as gr

from app.answering.answer import Event
from app.answering.backend import HOW_TO
from app.answering.plan import request
from app.messages.texts import TEXTS, Tongue
from app.running.bases import State
from app.running.chat_folders import ever_held
from app.running.chats import Chat, Message, Reader
from app.running.users import User
from app.training.variants import variant_for
from app.training.votes import ROLES, Vote, add_vote, sent, votes_file
from app.ui.render import evidence, safe_markdown, shown_answer
from core.types import Answer
from llm import examples
from prompts.context import render
from prompts.support import statements

_REMEMBERED = 1000  # answers as they are shown
_SHOWN: OrderedDict[tuple[int, float, Tongue, int], str] = OrderedDict()
_MUTEX = threading.Lock()


@dataclass(eq=False, slots=True, weakref_slot=True)
class Writing:
    """A conversation that is answered: one answer at a time, in `turn`, and one question put at a time, in `asking`; as
    what it was last shown; and the questions that wait behind it, by their ids.

    `going`: what carries the answer out. `stops`: how often it was stopped, and how often before what has the turn was
    asked. `empties_until`: when what was asked is out of the box for sure, by `time.monotonic`.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    shown: list[dict[str, str]] = field(default_factory=list)
    waiting: dict[int, dict[str, str]] = field(default_factory=dict)
    going: asyncio.Task[None] | None = None
    stops: int = 0
    empties_until: float = 0.0
    _stops_before: int = 0

    @asynccontextmanager
    async def takes_turn(self) -> AsyncIterator[bool]:
        """Wait for the turn; false where it was stopped meanwhile."""
        before = self.stops
        async with self.turn:
            self._stops_before = before
            yield self.stops == before

    def box(self) -> gr.Textbox:
        """The box below it while it is answered: with a button to stop, and emptied of what was just asked."""
        emptied = time.monotonic() < self.empties_until
        return gr.Textbox(value="", stop_btn=True) if emptied else gr.Textbox(stop_btn=True)

    def stop(self) -> None:
        """End the answer, and what waits behind it."""
        self.stops += 1
        if self.going:
            self.going.cancel()

    async def until_stopped(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """`events`, to their end or until this is stopped; carried out in one task, as its limits of time need."""
        if self.stops != self._stops_before:
            return
        steps: asyncio.Queue[Event | None] = asyncio.Queue()

        async def carry_out() -> None:
            async with aclosing(events):
                async for event in events:
                    steps.put_nowait(event)

        going = self.going = asyncio.create_task(carry_out())
        going.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            while (event := await steps.get()) is not None:
                yield event
            if not going.cancelled():
                going.result()  # raises what it ended with
        finally:
            self.going = None
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    def messages(self, shown: list[dict[str, str]]) -> list[dict[str, str]]:
        """What is shown from now on, with what waits."""
        self.shown = shown
        return [*shown, *self.waiting.values()]


def reader_of(state: State, user: User) -> Reader:
    """Whose conversations a user reads, and what of them: what rests on knowledge bases that are there and seen."""
    return Reader(user.id, state.bases.seen(user))


def conversations(chats: Sequence[Chat], chosen: str, said: Tongue) -> str:
    """The list of conversations, each with what can be done to it."""
    texts = {key: html.escape(text, quote=True) for key, text in TEXTS[said].items()}
    if not chats:
        return f'<p class="rs-empty" data-chat="{html.escape(chosen)}">{texts["no_chats"]}</p>'
    folders: dict[str, list[str]] = {"": []}
    for chat in chats:
        folders.setdefault("" if chat.pinned else chat.folder, []).append(_entry(chat, chosen, texts))
    lists = "".join(
        f"<details open><summary>{html.escape(name)}</summary><ul>{''.join(rows)}</ul></details>"
        for name, rows in sorted(folders.items())
        if name
    )
    first = f'<ul aria-label="{texts["chats"]}">{"".join(folders[""])}</ul>' if folders[""] else ""
    return f'<div class="rs-chats" data-chat="{html.escape(chosen)}">{first}{lists}</div>'


def _entry(chat: Chat, chosen: str, texts: Mapping[str, str]) -> str:
    title, day = html.escape(chat.title, quote=True), time.strftime("%Y-%m-%d", time.localtime(chat.changed))
    whole = f"{html.escape(chat.folder, quote=True)} / {title}" if chat.folder else title
    here = ' aria-current="true"' if chat.id == chosen else ""
    act, star = ("unpin", "★") if chat.pinned else ("pin", "☆")
    return (
        f'<li{here}><button data-act="open" data-id="{chat.id}" title="{title} · {day}">{title}</button>'
        f'<button data-act="{act}" data-id="{chat.id}" title="{texts[act]}" aria-label="{texts[act]}: {title}"'
        f"{' class=rs-pinned' if chat.pinned else ''}>{star}</button>"
        f'<button data-act="rename" data-id="{chat.id}" data-ask="{texts["rename_to"]}" data-title="{whole}"'
        f' title="{texts["rename"]}" aria-label="{texts["rename"]}: {title}">✎</button>'
        f'<a href="chats/{chat.id}.md" download title="{texts["export"]}"'
        f' aria-label="{texts["export"]}: {title}">⤓</a>'
        f'<button data-act="delete" data-id="{chat.id}" data-ask="{texts["delete_chat"]}"'
        f' title="{texts["delete"]}" aria-label="{texts["delete"]}: {title}">✕</button></li>'
    )


def messages(branch: Sequence[Message], said: Tongue) -> list[dict[str, str]]:
    """The messages of a branch as the chat shows them."""
    shown = []
    for before, message in zip([None, *branch], branch, strict=False):
        if message.role == "user":
            shown.append({"role": "user", "content": safe_markdown(message.text, {})})
        else:
            content = _answer(message, before, said)
            if message is branch[-1] and message.answer and message.answer.finish == "length":
                content += f"\n\n[{TEXTS[said]['go_on']}](#more-{message.id})"
            shown.append({"role": "assistant", "content": content})
    return shown


def _answer(message: Message, question: Message | None, said: Tongue) -> str:
    """An answer, what its reader should know, and the ways to its other versions and those of its question."""
    texts, done = TEXTS[said], message.answer
    if message.hidden:
        parts = [f"*{texts['hidden']}*"]
    elif done is None:
        parts = [safe_markdown(message.text) or "…", "" if "⚠️" in message.text else f"*{texts['cut']}*"]
    else:
        parts = [_judged(message, done, said)]
        parts += [f"> {safe_markdown(note, {})}" for note in done.notes if note != HOW_TO]
        if message.text != done.text:
            parts.append(f"*{texts['corrected']}*")
    ways = [_ways(m, texts[key], said) for m, key in ((question, "question_n"), (message, "answer_n")) if m]
    return "\n\n".join(filter(None, [*parts, " · ".join(filter(None, ways))]))


def _judged(message: Message, done: Answer, said: Tongue) -> str:
    """What an answer says, each statement marked as held by its sources or not.

    That takes milliseconds, and a conversation is shown whole with every question: it is remembered.
    """
    key = (message.id, message.made, said, hash(message.text))  # an answer that was cut may have been gone on with
    with _MUTEX:
        if (shown := _SHOWN.get(key)) is not None:
            _SHOWN.move_to_end(key)
            return shown
    judged = done.answered and done.backend != "extractive" and message.text == done.text
    stated = statements(done.text, done.query, done.sources) if judged else []
    shown = shown_answer(message.text, stated, said, message.id, done.sources)
    with _MUTEX:
        _SHOWN[key] = shown
        if len(_SHOWN) > _REMEMBERED:
            _SHOWN.popitem(last=False)
    return shown


def _ways(message: Message, name: str, said: Tongue) -> str:
    if message.siblings < 2:
        return ""
    texts = TEXTS[said]
    return (
        f'{name} [‹](#turn-{message.id}--1 "{texts["earlier"]}") {message.place}/{message.siblings} '
        f'[›](#turn-{message.id}-1 "{texts["later"]}")'
    )


def in_panel(message: Message | None, said: Tongue, focus: int = 0) -> str:
    """The evidence of an answer, with one of its passages opened."""
    done = message.answer if message else None
    if message is None or done is None:
        return evidence((), "", said)
    cited = {citation.n for citation in done.citations}
    shown = evidence(done.sources, done.query, said, cited, done.trace, message=message.id, focus=focus, answer=done)
    return shown + _links(message.id, said)


def _links(message: int, said: Tongue) -> str:
    """The ways to an answer as a file."""
    texts = TEXTS[said]
    ways = "".join(
        f'<a href="answers/{message}.{kind}"{how}>{html.escape(texts[label])}</a>'
        for kind, label, how in (
            ("md", "as_markdown", " download"), ("docx", "as_word", " download"),
            ("html", "as_page", ' target="_blank" rel="noopener"'),
        )
    )  # fmt: skip
    return f'<p class="rs-exports">{html.escape(texts["take_along"])} {ways}</p>'


def voted(
    state: State, chat_id: str, message: Message, question: str, vote: Literal["up", "down"], *,
    reason: str | None = None, correction: str | None = None,
) -> None:  # fmt: skip
    """Keep what somebody thinks of an answer, with the knowledge base that it mostly rests on.

    Nothing of a conversation that held files of its own: its answers, and the prompts of those that follow, may tell
    what stands in them, and votes are read by who trains on them.
    """
    done = message.answer
    if done is None or not done.sources or ever_held(state.bases.data, chat_id):
        return
    if done.prompt:
        prompt = tuple(examples.Message(role=ROLES[role], content=text) for role, text in done.prompt)
    else:  # no model was asked: what it would have been sent
        prompt = sent(request(state.cfg, question, render(done.sources)))
    cited = {citation.n for citation in done.citations}
    first = next((source for source in done.sources if source.n in cited), done.sources[0])
    row = Vote(
        id=f"{chat_id}:{message.id}", time=time.strftime("%Y-%m-%dT%H:%M:%S"), question=question, prompt=prompt,
        answer=done.text, vote=vote, correction=correction, reason=reason, file=first.hit.path, model=done.model,
        variant=variant_for(state.cfg.llm, chat_id).name,
    )  # fmt: skip
    add_vote(votes_file(state.bases.data, first.hit.kb), row)
