"""New versions of prompts: written beside the others, never over one; compared; carried from library to library.

A pack is one TOML file: `[[prompts]]` with `name`, `version` and `text`, which is the file of that version.
"""

import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from core.errors import PromptError
from core.files import copy_whole, make_folder, sync_folder
from prompts.load import BUILT_IN, Demo, Prompt, check_name, load, parent_of, parse, versions
from prompts.resting import resting

_TRIES = 100  # others may take the next number meanwhile
_MOST_IN_PACK = 500
_MOST_PACK_BYTES = 8 * 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def furnish(library: Path) -> None:
    """Put the prompts that come with the app into a library; what is there already stays as it is.

    Raises `PromptError` where it cannot be written.
    """
    if library == BUILT_IN:
        return
    try:
        for file in BUILT_IN.glob("*/v*.toml"):
            place = library / file.parent.name / file.name
            if not place.exists():
                make_folder(place.parent)
                copy_whole(file, place)
    except OSError as error:
        hint = "check its permissions, or set prompts.library"
        raise PromptError(f"the prompts cannot be put into {str(library)!r}: {error.strerror}", hint) from error


def names(library: Path) -> list[str]:
    """The prompts of a library."""
    if not library.is_dir():
        raise PromptError(f"there is no prompt library {str(library)!r}", "check prompts.library in config.toml")
    return sorted(folder.name for folder in library.iterdir() if folder.is_dir() and versions(library, folder.name))


def same_words(one: Prompt, two: Prompt) -> bool:
    """Whether two versions say the same to a model, and rest on the same knowledge base."""
    first, second = ((set(each.variables), each.parts, each.demos, resting(each)) for each in (one, two))
    return first == second


def save(library: Path, prompt: Prompt) -> Prompt:
    """Write a prompt as the next version of its name, whole and never over another; returns it as it is on disk.

    Its own `version` and `id` do not count. Raises `PromptError` for what could not be loaded again, before anything is
    written, and where the library cannot be written.
    """
    check_name(prompt.name)
    raw = to_toml(prompt)
    folder = library / prompt.name
    try:
        parse(raw, prompt.name, 0, f"prompt {prompt.name}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".writing", delete=False) as handle:
            handle.write(raw)
            handle.flush()
            os.fsync(handle.fileno())
        Path(handle.name).chmod(folder.stat().st_mode & 0o644)  # no more open than its folder
        try:
            number = _placed(Path(handle.name), library, prompt.name)
        finally:
            Path(handle.name).unlink()
        sync_folder(folder)
    except OSError as error:
        raise PromptError(
            f"{str(folder)!r} cannot be written: {error.strerror}",
            f"copy {str(library)!r} to a folder of yours and set prompts.library to it",
        ) from None
    return load(library, prompt.name, number)


def remove(library: Path, prompt: Prompt) -> None:
    """Remove a version; its number is not given again. Raises `PromptError` where the library cannot be written."""
    file = library / prompt.name / f"v{prompt.version:03d}.toml"
    try:
        file.with_suffix(".removed").touch()
        file.unlink(missing_ok=True)
        sync_folder(file.parent)
    except OSError as error:
        hint = "check its permissions: it quotes what was deleted"
        raise PromptError(f"{str(file)!r} cannot be removed: {error.strerror}", hint) from error


def _placed(file: Path, library: Path, name: str) -> int:
    """Give a file the next free number; a link, unlike a rename, fails where the name is taken."""
    for _ in range(_TRIES):
        removed = [int(file.stem[1:]) for file in (library / name).glob("v*.removed") if file.stem[1:].isdecimal()]
        number = max([0, *versions(library, name), *removed]) + 1
        with suppress(FileExistsError):
            os.link(file, library / name / f"v{number:03d}.toml")
            return number
    raise PromptError(f"no number is free for prompt {name!r}", "others are writing versions of it: try again")


def to_toml(prompt: Prompt) -> bytes:
    """The file of a version. Raises `PromptError` for text that is no Unicode."""
    lines = [f"parent = {_string(prompt.parent)}", f"notes = {_string(prompt.notes)}"]
    lines += [f"rests_on = {_string(prompt.rests_on)}"] if prompt.rests_on is not None else []
    lines.append(f"variables = [{', '.join(map(_string, prompt.variables))}]")
    for language, (system, user) in prompt.parts.items():
        lines += ["", f"[{language}]", f"system = {_string(system)}", f"user = {_string(user)}"]
        lines += demos_toml({language: prompt.demos.get(language, ())})
    return _encoded("\n".join(lines) + "\n")


def demos_toml(demos: Mapping[str, Sequence[Demo]]) -> list[str]:
    """The lines of `[[language.demos]]` tables."""
    lines: list[str] = []
    for language, rows in demos.items():
        for demo in rows:
            lines += ["", f"[[{language}.demos]]"]
            lines += [f"{name} = {_string(text)}" for name, text in (*demo.values.items(), ("answer", demo.answer))]
    return lines


def with_demos(prompt: Prompt, text: str) -> Prompt:
    """A prompt with demonstrations as `[[language.demos]]` tables that somebody wrote, checked as a file is.

    Raises `PromptError`.
    """
    raw = to_toml(replace(prompt, demos={})) + b"\n" + _encoded(text)
    return parse(raw, prompt.name, prompt.version, prompt.name)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PromptError("the prompt holds half of a surrogate pair, which is no text", "type it anew") from None


def _string(text: str) -> str:
    """A TOML string: basic, or over several lines where it has some."""
    text = text.replace("\\", "\\\\")
    if "\n" not in text:
        text = text.replace('"', '\\"').replace("\t", "\\t")
        return f'"{_CONTROL.sub(_escape, text)}"'
    text = re.sub(r'"(?="|\Z)', r"\"", text)
    return f'"""\n{_CONTROL.sub(_escape, text)}"""'


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


# --- two versions ----------------------------------------------------------------------------------------------------


def diff(one: Prompt, two: Prompt) -> dict[str, str]:
    """What differs, as a unified diff per section ("en.system", "zh.demos", "variables"); equal ones are absent."""
    before, after = _sections(one), _sections(two)
    found = {}
    for section in dict.fromkeys([*before, *after]):
        old, new = before.get(section, ""), after.get(section, "")
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), one.label, two.label, lineterm="", n=2)
        if old != new:
            found[section] = "\n".join(lines)
    return found


def _sections(prompt: Prompt) -> dict[str, str]:
    found = {"variables": ", ".join(sorted(prompt.variables))}
    for language, (system, user) in prompt.parts.items():
        found |= {f"{language}.system": system, f"{language}.user": user}
        if language in prompt.demos:
            found[f"{language}.demos"] = "\n".join(demos_toml({language: prompt.demos[language]})).strip()
    return found


# --- packs -----------------------------------------------------------------------------------------------------------


def pack(prompts: Sequence[Prompt]) -> str:
    """Several versions as one file."""
    lines = ["# Ragstone prompts: `ragstone prompts import` takes them over."]
    for prompt in prompts:
        told = [f"name = {_string(prompt.name)}", f"version = {prompt.version}"]
        lines += ["", "[[prompts]]", *told, f"text = {_string(to_toml(prompt).decode())}"]
    return "\n".join(lines) + "\n"


def unpack(raw: bytes, name: str, where: str) -> list[Prompt]:
    """The versions of a pack, or the one of a plain version file, which has the given name.

    Raises `PromptError` naming what is wrong; nothing of a pack is taken where one part of it is.
    """
    if len(raw) > _MOST_PACK_BYTES:
        raise PromptError(f"{where}: larger than {_MOST_PACK_BYTES >> 20} MiB", "take over fewer prompts at a time")
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PromptError(f"{where}: not valid TOML: {error}", "mend that line") from None
    rows = data.get("prompts")
    if rows is None:
        return [parse(raw, check_name(name), 1, where)]
    if not isinstance(rows, list) or set(data) != {"prompts"} or not 0 < len(rows) <= _MOST_IN_PACK:
        raise PromptError(f"{where}: not a pack of 1 to {_MOST_IN_PACK} [[prompts]]", "export it anew")
    found = []
    for number, row in enumerate(rows, start=1):
        match row:
            case {"name": str(own), "version": int(version), "text": str(text)} if version > 0 and len(row) == 3:
                found.append(parse(text.encode(), check_name(own), version, f"{where}, {own[:80]} v{version:03d}"))
            case _:
                raise PromptError(f"{where}: [[prompts]] {number} must hold name, version and text", "export it anew")
    return found


def take_over(library: Path, prompts: Sequence[Prompt]) -> list[tuple[Prompt, bool]]:
    """Save versions from elsewhere as the next ones here; each as it is here now, and whether it is new.

    One that says what a version here says is that version. Parents among them are named by their numbers here.
    """
    placed: dict[tuple[str, int], Prompt] = {}
    found = []
    for prompt in sorted(prompts, key=lambda p: p.version):
        own = (load(library, prompt.name, number) for number in versions(library, prompt.name))
        here = next((other for other in own if same_words(prompt, other)), None)
        parent = parent_of(prompt)
        moved = placed.get(parent) if parent else None
        new = here is None
        here = here or save(library, replace(prompt, parent=moved.label if moved else prompt.parent))
        placed[prompt.name, prompt.version] = here
        found.append((here, new))
    return found


def read_file(file: Path, name: str = "") -> list[Prompt]:
    """The versions in a file that somebody gave; a plain one is named, or else as its file is. Raises `PromptError`."""
    try:
        with file.open("rb") as handle:
            raw = handle.read(_MOST_PACK_BYTES + 1)
    except OSError as error:
        raise PromptError(f"{str(file)!r} cannot be read: {error.strerror}", "give a TOML file") from None
    return unpack(raw, name or re.sub(r"[-_.]v\d+$", "", file.stem), file.name)
