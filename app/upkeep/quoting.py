"""What a purge does to prompts that quote documents: those go of which it cannot be told that all they quote stands."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from app.answering import promotions
from app.keeping.held import Held
from core.errors import CatalogError
from prompts.delimiters import in_line, inert
from prompts.load import Demo, Prompt, load, versions
from prompts.resting import is_of, resting
from prompts.versions import names, remove
from retrieval.index import Index

_SOURCE = re.compile(r'<source n="\d+" path="([^"\n]*)"[^\n]*>\n(.*?)\n</source>', re.DOTALL)  # as `render` has it
_NOTED = ("with reasoning demonstrated on questions about {}:", "with demonstrations from {}:")  # without a mark


@dataclass(frozen=True, slots=True)
class Quoting:
    """What was removed, as a receipt names it, and the texts of demonstrations that were in it."""

    removed: tuple[str, ...] = ()
    texts: frozenset[str] = field(default=frozenset())


def forget_versions(library: Path, index: Index, database: str = "") -> Quoting:
    """Remove versions that may quote what the knowledge base does not hold any more, and their promotions.

    So are those of knowledge bases of its data folder that are gone. Raises `PromptError` where one cannot be removed.
    """
    prompts = [load(library, name, number) for name in names(library) for number in versions(library, name)]
    wordings = [prompt.parts for prompt in prompts if resting(prompt) == ""]
    held, there = Held(index), _identities(index, database)
    gone = [
        prompt
        for prompt in prompts
        if (_is_of(prompt, held) and not (prompt.parts in wordings and _stands(prompt, held)))
        or (there and is_of(prompt, index.home.parent) and resting(prompt) not in there)
    ]
    standing = {f"{row.choice.name}/v{row.choice.version:03d}" for row in promotions.promotions(index.home)}
    labels = {prompt.label for prompt in gone}
    for prompt in gone:
        remove(library, prompt)
    if labels & standing:
        promotions.drop(index.home, labels)
    lines = [f"prompts: {label}" for label in sorted(labels)]
    lines += [f"{promotions.FILE}: {label}" for label in sorted(labels & standing)]
    demos = [demo for prompt in gone for demos in prompt.demos.values() for demo in demos]
    return Quoting(tuple(lines), frozenset(t for d in demos for t in (d.answer, d.values.get("sources", "")) if t))


def _is_of(prompt: Prompt, held: Held) -> bool:
    """Whether a version rests on a knowledge base; of those that say nothing, its notes as the app wrote them tell."""
    rests_on = resting(prompt)
    return rests_on == held.id if rests_on is not None else any(n.format(held.kb) in prompt.notes for n in _NOTED)


def _identities(index: Index, database: str) -> set[str]:
    """The ids of all knowledge bases of a data folder, those that were carried into a database included; none where one
    of them cannot be told.
    """
    data = index.home.parent
    try:
        homes = [(name, where) for where in {"", database} for name in Index.names(data, where)]
        return {Index.identity_in(data, name, where) for name, where in homes}
    except CatalogError:
        return set()


def _stands(prompt: Prompt, held: Held) -> bool:
    """Whether all that a version demonstrates is shown by passages which stand in their documents."""
    return all(_shown_by(demo, held) for demos in prompt.demos.values() for demo in demos)


def _shown_by(demo: Demo, held: Held) -> bool:
    quoted = _SOURCE.findall(demo.values.get("sources", ""))
    return bool(quoted) and all(_holds(held, path, text) for path, text in quoted)


def _holds(held: Held, path: str, text: str) -> bool:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    texts = held.texts(lambda own: in_line(own) == path)
    return any(all(line in inert(said) for line in lines) for said in texts)
