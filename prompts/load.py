"""Reads prompts/library/<name>/vNNN.toml, one file per version, never edited; languages are [en], [zh], ..."""

import hashlib
import re
import string
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PromptError
from core.types import Turn
from prompts.delimiters import SOURCE, inert

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

BUILT_IN = Path(__file__).with_name("library")  # the prompts that come with the app
MAX_BYTES = 256 * 1024  # of one version
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FILE = re.compile(r"v(\d{3,9})\.toml")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")
_TAG = re.compile(r"</?([A-Za-z][A-Za-z_-]*)")
_PARENT = re.compile(r"(?:([a-z][a-z0-9_-]{0,63})/)?v(\d{3,9})")
_KEYS = {"parent", "notes", "variables", "rests_on"}
_BASE = re.compile(r"(?:[0-9a-z-]{1,64}(?:@[0-9a-f]{8})?)?")
_MOST_DEMOS = 32
_SOURCES = "{sources}"


@dataclass(frozen=True, slots=True)
class Demo:
    """A demonstration: what the variables of the user's part hold (and `sources`, where there are any), the reply."""

    values: Mapping[str, str]
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt. `id` is the hash of its file; `parts[language]` is (system, user).

    `parent` is what it was made of: "", "v001" of the same name, or "answer/v001". `rests_on` names the knowledge
    base whose documents it quotes (`resting.mark`), "" where it quotes none, None where its file does not say.
    """

    name: str
    version: int
    id: str
    variables: tuple[str, ...]
    parts: Mapping[str, tuple[str, str]]
    demos: Mapping[str, tuple[Demo, ...]] = field(default_factory=dict)
    parent: str = ""
    notes: str = ""
    rests_on: str | None = None

    @property
    def label(self) -> str:
        """Its name and version, as they are written everywhere: "answer/v001"."""
        return f"{self.name}/v{self.version:03d}"

    def render(
        self, language: str, values: Mapping[str, str], history: Sequence[Turn] = (), *, late: bool = False
    ) -> "list[BaseMessage]":
        """The messages to send: system, a turn for each demonstration, the conversation so far, the question.

        `late`: sources that end the system's part stand before the question instead, so that all before them is the
        same from one question of a conversation to the next, and a server need not compute it again.
        A language without a section of its own is asked in English. No value and no turn can write an element that the
        prompt writes; `sources`, as `context.render` makes it, keeps those around its sources. Raises `PromptError` for
        missing values.
        """
        from langchain_core.messages import AIMessage, HumanMessage
        from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

        missing = set(self.variables) - values.keys()
        if missing:
            raise PromptError(f"prompt {self.name} v{self.version:03d} was given no {', '.join(sorted(missing))}")
        language = language if language in self.parts else "en"
        system, user = self.parts[language]
        if late and system.endswith(_SOURCES):
            system, user = system.removesuffix(_SOURCES).rstrip(), f"{_SOURCES}\n\n{user}"
        template = ChatPromptTemplate.from_messages(
            [("system", system), MessagesPlaceholder("history"), ("human", user)]
        )
        own = SOURCE.union(tag.lower() for tag in _TAG.findall(f"{system}\n{user}"))
        values = {key: inert(text, own - SOURCE if key == "sources" else own) for key, text in values.items()}
        turns = [turn for demo in self.demos.get(language, ()) for turn in _turns(user, demo)]
        turns += [Turn(turn.role, inert(turn.content, own)) for turn in history]
        messages = [(HumanMessage if t.role == "user" else AIMessage)(content=t.content) for t in turns]
        return template.format_messages(history=messages, **values)


def _turns(user: str, demo: Demo) -> list[Turn]:
    """A demonstration as it would have been asked; sources that the user's part has no place for stand before it."""
    asked = user.format_map(demo.values)
    if "sources" in demo.values and "sources" not in _fields(user):
        asked = f"{demo.values['sources']}\n\n{asked}"
    return [Turn("user", asked), Turn("assistant", demo.answer)]


def load(library: Path, name: str, version: int = 0, among: Callable[[Prompt], bool] | None = None) -> Prompt:
    """Read a prompt; version 0 is the newest. Raises `PromptError` naming the file and what is wrong in it.

    A version that is not `among` those that count is one that is not there.
    """
    found = versions(library, check_name(name))
    if among:
        wanted = (_read(library, name, number) for number in reversed(found) if version in (0, number))
        if fit := next(filter(among, wanted), None):
            return fit
        found = [number for number in found if among(_read(library, name, number))]
    if not found:
        raise PromptError(f"there is no prompt {name!r} in {str(library)!r}", "check prompts.library in config.toml")
    version = version or found[-1]
    if version not in found:
        there = ", ".join(map(str, found))
        raise PromptError(f"prompt {name!r} has no version {version} (there: {there})", "set one of these, or 0")
    return _read(library, name, version)


def _read(library: Path, name: str, version: int) -> Prompt:
    file = library / name / f"v{version:03d}.toml"
    try:
        with file.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise PromptError(f"{str(file)!r} cannot be read: {error.strerror}", "check its permissions") from None
    return parse(raw, name, version, str(file))


def check_name(name: str) -> str:
    """The name, if it can be a prompt's. Raises `PromptError`."""
    if not _NAME.fullmatch(name):
        raise PromptError(f"{name!r} cannot name a prompt", "use lower-case letters, digits, '-' and '_'")
    return name


def versions(library: Path, name: str) -> list[int]:
    """The versions of a prompt, oldest first."""
    files = (library / name).glob("v*.toml")
    return sorted(int(match[1]) for file in files if (match := _FILE.fullmatch(file.name)))


def parent_of(prompt: Prompt) -> tuple[str, int] | None:
    """Name and version of what a prompt was made of; None where it names nothing."""
    match = _PARENT.fullmatch(prompt.parent)
    return (match[1] or prompt.name, int(match[2])) if match else None


@lru_cache(maxsize=256)
def parse(raw: bytes, name: str, version: int, where: str) -> Prompt:
    """A version from the bytes of its file. Raises `PromptError` that begins with `where`."""
    if len(raw) > MAX_BYTES:
        raise PromptError(f"{where}: longer than {MAX_BYTES // 1024} KiB", "no model reads a prompt of this length")
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PromptError(f"{where}: not valid TOML: {error}", "mend that line") from None
    declared = data.get("variables", [])
    if not (isinstance(declared, list) and all(isinstance(v, str) and v.isidentifier() for v in declared)):
        raise PromptError(f"{where}: `variables` must be a list of names", 'e.g. variables = ["question"]')
    for key in ("parent", "notes", "rests_on"):
        if not isinstance(data.get(key, ""), str):
            raise PromptError(f"{where}: `{key}` must be a string", "put it in quotes")
    if not _BASE.fullmatch(data.get("rests_on", "")):
        raise PromptError(f"{where}: `rests_on` is no id of a knowledge base", 'take it from an export, or write ""')
    parts: dict[str, tuple[str, str]] = {}
    demos: dict[str, tuple[Demo, ...]] = {}
    for key, body in data.items():
        if key not in _KEYS:
            parts[key] = _section(where, key, body, declared)
            if "demos" in body:
                demos[key] = _demos(where, key, body["demos"], set(_fields(parts[key][1])), set(declared))
    if "en" not in parts:
        raise PromptError(f"{where}: the [en] section is missing", "add it: it also serves languages without their own")
    identity = hashlib.sha256(raw).hexdigest()[:16]
    told = {key: data.get(key, default) for key, default in (("parent", ""), ("notes", ""), ("rests_on", None))}
    return Prompt(name, version, identity, tuple(declared), parts, demos, **told)


def _section(where: str, key: str, body: Any, declared: Sequence[str]) -> tuple[str, str]:
    """System and user of a language, their variables checked."""
    if not (isinstance(body, dict) and _LANGUAGE.fullmatch(key) and set(body) - {"demos"} == {"system", "user"}):
        raise PromptError(
            f"{where}: [{key}] must hold system and user, and perhaps demos, nothing else", "see another prompt file"
        )
    if not all(isinstance(body[part], str) for part in ("system", "user")):
        raise PromptError(f"{where}: system and user of [{key}] must be strings", "put them in quotes")
    system, user = body["system"].strip(), body["user"].strip()
    try:
        used = {*_fields(system), *_fields(user)}
    except ValueError as error:
        raise PromptError(f"{where}: [{key}] is no template: {error}", "write {{ and }} for literal braces") from None
    if used != set(declared):
        raise PromptError(
            f"{where}: [{key}] uses {sorted(used)}, `variables` declares {sorted(declared)}",
            "make both the same; write {{ and }} for literal braces",
        )
    return system, user


def _fields(template: str) -> list[str]:
    """The variables of a template. Raises `ValueError` for anything but plain names in its braces.

    Attributes, indexes, conversions and formats would let a prompt from elsewhere reach into what it is filled with.
    """
    fields = []
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if spec or conversion or not name.isidentifier():
            told = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{told[:60]}}} is not the plain name of a variable")
        fields.append(name)
    return fields


def _demos(where: str, key: str, rows: Any, needed: set[str], declared: set[str]) -> tuple[Demo, ...]:
    if not isinstance(rows, list) or len(rows) > _MOST_DEMOS:
        raise PromptError(f"{where}: [[{key}.demos]] must be at most {_MOST_DEMOS} tables", "leave some out")
    found = []
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row, dict) and all(isinstance(value, str) for value in row.values())):
            raise PromptError(f"{where}: [[{key}.demos]] {number} must hold strings only", "put them in quotes")
        values = {name: text.strip() for name, text in row.items() if name != "answer"}
        if not row.get("answer", "").strip() or not needed <= values.keys() <= declared | {"sources"}:
            names = ", ".join(sorted(needed | {"answer"}))
            raise PromptError(
                f"{where}: [[{key}.demos]] {number} has {sorted(row)}, it must have {names}",
                "it may have the other variables too, nothing else",
            )
        found.append(Demo(values, row["answer"].strip()))
    return tuple(found)
