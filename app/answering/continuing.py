"""Recipe: an answer that ran into the limit of its length -> the same answer, with what was still to come.

The model is sent what it was sent, what it wrote, and that it go on; marks are checked over the whole.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from app.answering.answer import Done, Event, Reply, Text, answering, noted, noting, without_refusal
from app.answering.plan import Plan
from core.errors import ModelError
from core.types import Answer
from llm import chat
from llm.thinking import Anew
from prompts import context

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_GO_ON = {
    "en": "Your answer was cut. Go on exactly where it stops, with the next word, in the same form. Repeat nothing of "
    "it, and say nothing about it.",
    "zh": "你的回答被截断了。请从中断处的下一个字继续写，保持同样的格式；不要重复已写的内容，也不要作任何说明。",
}
_BROKEN_WORD = re.compile(r"(?:[\[【]\d{0,3}|[A-Za-z0-9_'’-]{1,40})\Z")
_LINE = re.compile(r"(?:[-*•+]|\d{1,3}[.)、]|#{1,6}|\|)\s")  # begins a line of its own
_LEAST, _MOST = 6, 200  # characters at the end of what is there that count as repeated


def whole_words(text: str) -> str:
    """The text without a word that it ends in the middle of, which is written again; Chinese ends with any character.

    >>> whole_words("It measures up to 10"), whole_words("浊度可测至"), whole_words("Done. ")
    ('It measures up to ', '浊度可测至', 'Done. ')
    """
    shorter = _BROKEN_WORD.sub("", text)
    return shorter if shorter.strip() else text


async def go_on(cut: Answer, plan: Plan) -> AsyncGenerator[Event, None]:
    """What is still to come of an answer that was cut: `Text` that follows `whole_words` of it, then the whole.

    Raises `ModelError` where no model is there, or it fails. Closing the generator cancels the request.
    """
    started = time.perf_counter()
    backend = plan.backend
    if backend.endpoint is None or not cut.prompt:
        raise ModelError("no model is there to go on with this answer", "configure one, or ask again")
    tongue, begun, reply = context.reply_language(cut.query), whole_words(cut.text), Reply()
    messages = await asyncio.to_thread(_messages, cut, begun, _GO_ON[tongue])
    async with aclosing(chat.stream(backend.endpoint, plan.cfg.llm, messages)) as pieces:
        written = without_refusal(_new(begun, answering(pieces, reply)))
        while True:
            reply.text, reply.anew = "", False
            async for piece in context.stream_known(noting(written, reply), context.bodies(cut.sources)):
                yield Text(piece)
            if not reply.anew:
                break
            yield Text("", anew=True)
    cited = await asyncio.to_thread(context.cite, begun + reply.text, cut.sources)
    notes = noted(backend, cited, cut.sources, reply.finish, answered=True, tongue=tongue)
    yield Done(
        replace(
            cut, text=cited.text.strip(), citations=cited.citations, notes=notes, finish=reply.finish,
            seconds=cut.seconds + time.perf_counter() - started, thoughts=f"{cut.thoughts}\n\n{reply.thoughts}".strip(),
        )
    )  # fmt: skip


def _messages(cut: Answer, begun: str, order: str) -> "list[BaseMessage]":
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    kinds = {"system": SystemMessage, "human": HumanMessage, "ai": AIMessage}
    sent = [kinds[role](content=text) for role, text in cut.prompt]
    return [*sent, AIMessage(content=begun), HumanMessage(content=order)]


async def _new(begun: str, pieces: AsyncIterator[str | Anew]) -> AsyncIterator[str | Anew]:
    """The pieces without what is there already: models begin with the end of it, although they are told not to."""
    held: str | None = ""
    async for piece in pieces:
        if isinstance(piece, Anew):
            held = ""
            yield piece
        elif held is None:
            yield piece
        else:
            held += piece
            if not _may_repeat(begun, held):
                yield _without_repeat(begun, held)
                held = None
    if held:
        yield _without_repeat(begun, held)


def _may_repeat(begun: str, new: str) -> bool:
    """Whether what came so far stands in the end of what is there, so that more of it may."""
    return len(new) < _MOST and new.strip() in begun[-_MOST:]


def _without_repeat(begun: str, new: str) -> str:
    """The new text without the end of what is there, where it begins with that; and apart from it where it must be.

    Of the spaces that a reply begins with nothing is left.
    """
    end, start = begun.rstrip(), new.lstrip()
    sizes = range(min(_MOST, len(end), len(start)), _LEAST - 1, -1)
    repeated = next((size for size in sizes if end.endswith(start[:size])), 0)
    new = start[repeated:]
    if begun[-1:].isspace():
        return new.lstrip()
    if not repeated and _LINE.match(new):
        return f"\n{new}"
    apart = not repeated and begun[-1:] in ".,;:!?)]" and new[:1].isascii() and new[:1].isalnum()
    return f" {new}" if apart else new
