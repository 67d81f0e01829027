"""What people wrote or found, beside the catalog of a knowledge base: each file is read as whoever uses it reads it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from app.answering import promotions, unanswered
from app.measuring import golden
from core.errors import RagstoneError
from retrieval import dictionary, tuning

_READERS: Mapping[str, Callable[[Path], object]] = {
    golden.FILE: lambda home: golden.read(home / golden.FILE),
    dictionary.FILE: lambda home: dictionary.load(home / dictionary.FILE),
    tuning.FILE: lambda home: tuning.load(home / tuning.FILE),
    promotions.FILE: promotions.promotions,
    unanswered.FILE: unanswered.read,
}
KEPT = tuple(_READERS)


def damaged(home: Path) -> list[RagstoneError]:
    """What cannot be used of what lies in a folder, in the words of whoever reads it."""
    found: list[RagstoneError] = []
    for read in _READERS.values():
        try:
            read(home)
        except RagstoneError as error:
            found.append(error)
    return found
