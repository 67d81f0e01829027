"""What other front ends ask beside a conversation: its title, tags, follow-up questions, queries; not of documents.

Open WebUI, LibreChat, LobeChat and the like send such a prompt to the model that they talk with, the conversation
written into it. It is told by its form, not its words: an instruction about a conversation, and that conversation, in a
request that is none itself. What is not certain is a question.
"""

import json
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from app.answering.answer import Done, Event, Text
from app.answering.backend import Backend
from core.config import Config
from core.types import Answer
from llm import chat
from llm.thinking import Anew, Thought

Message = tuple[str, str]  # role, text
_LONGEST = 200_000  # characters of a request that is looked at
_TITLE = 40  # characters, in the width of Chinese half as many

_OPENED = re.compile(r"<(chat_history|conversation|history|messages|dialogue)>", re.IGNORECASE)
_USER, _OTHER = r"user|human|用户|使用者", r"assistant|ai|bot|model|response|助手|助理|机器人"
_LABEL = re.compile(rf"^[^\w\n]{{0,5}}(?:(?P<user>{_USER})|{_OTHER})[^\w\n]{{0,3}}[:：]", re.MULTILINE | re.IGNORECASE)
_HEADED = re.compile(r"\s*#{1,6} *\w[^\n]{0,40}\n")
# Words of an instruction: what to do, what for, of what; English ones and Chinese ones.
_ORDER = [
    re.compile(rf"\b(?:{english})\b|{chinese}", re.IGNORECASE)
    for english, chinese in (
        (r"generat\w*|writ\w+|creat\w+|provid\w+|suggest\w*|summari[sz]\w+|detect|extract|return",
         "生成|撰写|写出|总结|概括|提炼|给出|建议"),
        (r"titles?|topics?|tags?|follow-?ups?|(?:search|retrieval) quer(?:y|ies)",
         "标题|标签|主题|追问|后续问题|搜索词"),
        ("conversations?|chats?|dialogues?|chat history", "对话|聊天|会话"),
    )
]  # fmt: skip
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？\n]?")
_DOCUMENTS = re.compile(
    r"\b(?:documents?|handbooks?|manuals?|files?|polic(?:y|ies))\b|文档|文件|手册|资料|知识库|制度", re.IGNORECASE
)
_KEY = re.compile(r"""["'](title|tags|follow_ups|queries|text)["']\s*:""")
_IS_TITLE = re.compile(r"\btitles?\b|标题|主题", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chore:
    """A prompt about a conversation: the messages as they came, what is asked, and the conversation in it."""

    messages: tuple[Message, ...]
    instruction: str
    conversation: str

    def plainly(self) -> str | None:
        """What can be said without a model, in the form that is asked for; None where nothing can."""
        asked = _asked(self.conversation)
        key = _KEY.search(self.instruction)
        if key is None:
            return _title(asked) if _IS_TITLE.search(self.instruction) else None
        said = {"title": _title(asked), "queries": asked[-1:], "tags": [], "follow_ups": [], "text": ""}
        return json.dumps({key[1]: said[key[1]]}, ensure_ascii=False)


def chore(messages: Sequence[Message]) -> Chore | None:
    """The chore that a request is; None for a question."""
    texts = [text for _, text in messages if text.strip()]
    if any(role == "assistant" for role, _ in messages) or not 1 <= len(texts) <= 3:
        return None
    if sum(map(len, texts)) > _LONGEST:
        return None
    whole = "\n\n".join(texts)
    opened = _OPENED.search(whole)
    closed = re.compile(f"</{opened[1]}>", re.IGNORECASE).search(whole, opened.end()) if opened else None
    if opened and closed:
        instruction = f"{whole[: opened.start()]}\n{whole[closed.end() :]}"
        conversation = whole[opened.end() : closed.start()]
        known = opened[1].lower() == "chat_history" and any(_HEADED.match(text) for text in texts)
    else:
        labels = list(_LABEL.finditer(whole))
        if not labels or {bool(label["user"]) for label in labels} != {True, False}:
            return None
        instruction, conversation, known = whole[: labels[0].start()], whole[labels[0].start() :], False
    if not conversation.strip() or not (known or _orders(instruction)):
        return None
    return Chore(tuple(messages), instruction, conversation)


def _orders(instruction: str) -> bool:
    """Whether a sentence, which is no question, asks for something about a conversation; and none is of documents."""
    if _DOCUMENTS.search(instruction):
        return False
    sentences = (sentence[0].strip() for sentence in _SENTENCE.finditer(instruction))
    return any(s[-1:] not in "?？" and all(part.search(s) for part in _ORDER) for s in sentences)


def _asked(conversation: str) -> list[str]:
    """What the user said, in order; all of it where it is not told who speaks."""
    labels = list(_LABEL.finditer(conversation))
    ends = [*(label.start() for label in labels[1:]), len(conversation)]
    said = [conversation[label.end() : end] for label, end in zip(labels, ends, strict=True) if label["user"]]
    return [" ".join(text.split()).strip("\"“”' ") for text in said or [conversation] if text.strip()]


def _title(asked: Sequence[str]) -> str:
    """The first question, cut."""
    room, title = _TITLE, ""
    for character in asked[0] if asked else "":
        room -= 2 if character > "\u2e7f" else 1
        if room < 0:
            return title.rstrip() + "…"
        title += character
    return title


async def carry_out(
    asked: Chore, cfg: Config, backend: Backend, form: dict[str, Any] | None = None
) -> AsyncGenerator[Event, None]:
    """What the model says to a chore, passed to it as it is, or what is said without one.

    `form` as for `chat.stream`.
    """
    started, text, finish, thoughts = time.perf_counter(), "", "stop", ""
    if backend.endpoint is None:
        text = asked.plainly() or ""
        yield Text(text)
    else:
        async with aclosing(chat.stream(backend.endpoint, cfg.llm, _messages(asked), form)) as pieces:
            async for piece in pieces:
                text = chat.joined(text, piece)
                if isinstance(piece, Thought):
                    thoughts += piece.text
                elif isinstance(piece, chat.Finish):
                    finish = piece.reason
                else:
                    yield Text("", anew=True) if isinstance(piece, Anew) else Text(piece)
    notes = ("a prompt about a conversation: not answered from the documents",)
    seconds = time.perf_counter() - started
    yield Done(
        Answer(text, bool(text), (), (), backend.name, backend.model, "", seconds, notes, prompt=asked.messages,
               finish=finish, thoughts=thoughts)
    )  # fmt: skip


def _messages(asked: Chore) -> list[Any]:
    from langchain_core.messages import HumanMessage, SystemMessage

    return [(HumanMessage if role == "user" else SystemMessage)(content=text) for role, text in asked.messages]
