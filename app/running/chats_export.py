"""A conversation as its owner takes it along."""

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from prompts.inert import inert, inert_line

if TYPE_CHECKING:
    from app.running.chats import Chat, Message

_HIDDEN = "(you may no longer see what this answer rests on / 您已无权查看此回答所依据的内容)"


def as_markdown(chat: "Chat", branch: "Sequence[Message]", sees: Collection[str]) -> str:
    """The branch that is shown, with the passages that its answers cite, as Markdown.

    Of the knowledge bases that it asks those are named which its reader `sees`; of files dropped into it, no more than
    what is cited.
    """
    bases = ", ".join(kb for kb in chat.bases if kb in sees)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(chat.made))
    parts = [f"# {inert_line(chat.title or chat.id)}", f"{made} · {bases}"]
    for message in branch:
        if message.role == "user":
            parts.append("\n".join(f"> {line}" for line in inert(message.text).splitlines()))
            continue
        parts.append(_HIDDEN if message.hidden else inert(message.text))
        for citation in message.answer.citations if message.answer else ():
            page = f", p. {citation.page}" if citation.page else ""
            name, quote = inert_line(citation.source), inert(" ".join(citation.quote.split()))
            parts.append(f"- [{citation.n}] {name}{page}: {quote}")
    return "\n\n".join(parts) + "\n"
