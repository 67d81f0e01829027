"""Prompt files -> templates. A prompt is `library/<name>/vNNN.toml` with a section per language; none is ever edited.

The number of the newest file is what version 0 means.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PromptError
from core.types import Turn

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_FILE = re.compile(r"v(\d{3,})\.toml")
_KEYS = {"parent", "notes", "variables"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt. `id` is the hash of its file; `parts[language]` is (system, user)."""

    name: str
    version: int
    id: str
    variables: tuple[str, ...]
    parts: Mapping[str, tuple[str, str]]

    def render(self, language: str, values: Mapping[str, str], history: Sequence[Turn] = ()) -> "list[BaseMessage]":
        """The messages to send: system, the conversation so far, the question.

        A language without a section of its own is asked in English. Raises `PromptError` for missing values.
        """
        from langchain_core.messages import AIMessage, HumanMessage
        from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

        missing = set(self.variables) - values.keys()
        if missing:
            raise PromptError(f"prompt {self.name} v{self.version:03d} was given no {', '.join(sorted(missing))}")
        system, user = self.parts.get(language) or self.parts["en"]
        template = ChatPromptTemplate.from_messages(
            [("system", system), MessagesPlaceholder("history"), ("human", user)]
        )
        turns = [(HumanMessage if t.role == "user" else AIMessage)(content=t.content) for t in history]
        return template.format_messages(history=turns, **values)


def load(library: Path, name: str, version: int = 0) -> Prompt:
    """Read a prompt; version 0 is the newest. Raises `PromptError` naming the file and what is wrong in it."""
    if not _NAME.fullmatch(name):
        raise PromptError(f"{name!r} cannot name a prompt", "use lower-case letters, digits, '-' and '_'")
    found = versions(library, name)
    if not found:
        raise PromptError(f"there is no prompt {name!r} in {str(library)!r}", "check prompts.library in config.toml")
    version = version or found[-1]
    if version not in found:
        there = ", ".join(map(str, found))
        raise PromptError(f"prompt {name!r} has no version {version} (there: {there})", "set one of these, or 0")
    file = library / name / f"v{version:03d}.toml"
    raw = file.read_bytes()
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PromptError(f"{file}: not valid TOML: {error}", "mend that line") from None
    return _checked(file, data, Prompt(name, version, hashlib.sha256(raw).hexdigest()[:16], (), {}))


def versions(library: Path, name: str) -> list[int]:
    """The versions of a prompt, oldest first."""
    files = (library / name).glob("v*.toml")
    return sorted(int(match[1]) for file in files if (match := _FILE.fullmatch(file.name)))


def _checked(file: Path, data: dict[str, Any], empty: Prompt) -> Prompt:
    from langchain_core.prompts import ChatPromptTemplate

    declared = data.get("variables", [])
    parts: dict[str, tuple[str, str]] = {}
    for key, body in data.items():
        if key in _KEYS:
            continue
        if not (isinstance(body, dict) and set(body) == {"system", "user"}):
            raise PromptError(f"{file}: [{key}] must hold system and user, nothing else", "see another prompt file")
        parts[key] = (body["system"].strip(), body["user"].strip())
        try:
            template = ChatPromptTemplate.from_messages([("system", parts[key][0]), ("human", parts[key][1])])
        except ValueError as error:
            raise PromptError(
                f"{file}: [{key}] is no template: {error}", "write {{ and }} for literal braces"
            ) from None
        used = set(template.input_variables)
        if used != set(declared):
            raise PromptError(
                f"{file}: [{key}] uses {sorted(used)}, `variables` declares {sorted(declared)}",
                "make both the same; write {{ and }} for literal braces",
            )
    if "en" not in parts:
        raise PromptError(f"{file}: the [en] section is missing", "add it: it also serves languages without their own")
    return Prompt(empty.name, empty.version, empty.id, tuple(declared), parts)
