"""On which knowledge base a version of a prompt rests: on that whose documents it quotes.

What quotes documents is for that knowledge base alone, and for those who see it: in every list, in what is carried
away, and in what answers.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from core.errors import PromptError
from prompts.load import BUILT_IN, Demo, Prompt, load, parent_of, versions


def resting(prompt: Prompt) -> str | None:
    """The id of the knowledge base whose documents a version quotes; "" for none; None where nobody knows.

    Nobody knows of demonstrations that nothing says the origin of, unless they came with the app: earlier versions of
    it wrote none down.
    """
    if prompt.rests_on is not None:
        return prompt.rests_on.partition("@")[0]
    return "" if demonstrated(prompt) <= _built_in() else None


def mark(base: str, data: Path) -> str:
    """What a version says that rests on the knowledge base of an id, in a data folder.

    The folder is there because several may share a library: what none of them has is not gone for all.
    """
    return f"{base}@{_folder(data)}"


def is_of(prompt: Prompt, data: Path) -> bool:
    """Whether a version was made of a knowledge base in a data folder."""
    return (prompt.rests_on or "").partition("@")[2] == _folder(data)


def _folder(data: Path) -> str:
    return hashlib.sha256(str(data.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def demonstrated(prompt: Prompt) -> frozenset[tuple[tuple[str, str], ...]]:
    """The demonstrations of a prompt, as what can be compared."""
    return frozenset(_flat(demo) for demos in prompt.demos.values() for demo in demos)


def _flat(demo: Demo) -> tuple[tuple[str, str], ...]:
    return (*sorted(demo.values.items()), ("answer", demo.answer))


@lru_cache(maxsize=1)
def _built_in() -> frozenset[tuple[tuple[str, str], ...]]:
    names = sorted(folder.name for folder in BUILT_IN.iterdir() if folder.is_dir())
    all_ = (load(BUILT_IN, name, number) for name in names for number in versions(BUILT_IN, name))
    return frozenset().union(*(demonstrated(prompt) for prompt in all_))


def open_to(base: str) -> Callable[[Prompt], bool]:
    """Whether a version may be chosen for the knowledge base of an id without anybody naming it."""
    return lambda prompt: resting(prompt) in ("", base)


def check_for(prompt: Prompt, base: str, kb: str) -> Prompt:
    """The prompt, unless it rests on another knowledge base than this, of an id and a name. Raises `PromptError`."""
    if resting(prompt) not in (None, "", base):
        raise PromptError(
            f"prompt {prompt.label} quotes documents of another knowledge base than {kb!r}",
            "it is for that one alone; choose a version that quotes none",
        )
    return prompt


def inherited(library: Path, prompt: Prompt) -> Prompt:
    """The prompt, which rests on what its parent rests on where it does not say itself."""
    parent = parent_of(prompt)
    if prompt.rests_on is not None or parent is None or parent[1] not in versions(library, parent[0]):
        return prompt
    above = load(library, *parent)
    return replace(prompt, rests_on=above.rests_on) if resting(above) else prompt
