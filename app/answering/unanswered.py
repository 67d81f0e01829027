"""Questions that nothing was found for: `data/<kb>/unanswered.jsonl`, where `app.keep_unanswered` says so.

A line is a wording, how often it was asked, and when first and last; never who asked. Wordings that differ in case, in
the form of characters, in spaces or in the mark at their end are one. The file stays small, whatever is asked: beyond
`MOST` wordings the one that was asked least goes, of several the one that was not asked for longest.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from core.errors import CatalogError
from core.files import write_whole
from core.text import fold, well_formed

log = logging.getLogger(__name__)

FILE = "unanswered.jsonl"
MOST = 500  # wordings
LONGEST = 300  # characters of one
_MOST_BYTES = 4 * 2**20  # that are read of a file, whoever wrote it
_ENDS = " ?!.…,;:？！。，；：、"
_WAIT_S = 2.0  # for another process; no answer waits longer for what is only counted


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that nothing was found for, as it was worded last; `first` and `last` in seconds since 1970."""

    question: str
    count: int
    first: float
    last: float

    @property
    def id(self) -> str:
        """Names the wording, as 16 hexadecimal digits."""
        return hashlib.blake2b(_key(self.question).encode(), digest_size=8).hexdigest()


def keep(homes: Collection[Path], question: str, *, make: bool = False) -> None:
    """Count a question to the knowledge bases of these folders. Where it cannot be written, that is logged.

    A folder that is away is not made anew, unless (`make`) what the knowledge base is lies elsewhere, in a database.
    """
    wording, now = _plain(question), round(time.time(), 3)
    if not _key(wording):
        return
    for home in homes:
        if not home.is_dir() and not (make and home.parent.is_dir()):
            continue
        try:
            home.mkdir(0o700, exist_ok=True)
            with _alone(home):
                rows = {row.id: row for row in read(home)}
                new = Unanswered(wording, 1, now, now)
                if before := rows.pop(new.id, None):
                    new = replace(new, count=before.count + 1, first=before.first)
                kept = sorted(rows.values(), key=lambda row: (row.count, row.last))[max(len(rows) + 1 - MOST, 0) :]
                _write(home, [*kept, new])
        except (CatalogError, OSError) as error:
            log.warning("a question without an answer was not counted: %s", error)


def read(home: Path) -> list[Unanswered]:
    """What is kept, most often asked first, of equals the latest; none where there is no file.

    A line that is none of ours is passed over. Raises `CatalogError` where the file cannot be read.
    """
    try:
        with (home / FILE).open("rb") as handle:
            lines = handle.read(_MOST_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CatalogError(f"{str(home / FILE)!r} cannot be read: {error.strerror}", "check its permissions") from error
    rows = {row.id: row for row in map(_row, lines) if row is not None}
    return sorted(rows.values(), key=lambda row: (-row.count, -row.last))[:MOST]


def forget(home: Path, ids: Collection[str] | None = None) -> int:
    """Forget the questions of these ids, by default all of them; returns how many. Raises `CatalogError`."""
    if not (home / FILE).is_file():
        return 0
    try:
        with _alone(home):
            rows = read(home)
            kept = [row for row in rows if ids is not None and row.id not in ids]
            if kept:
                _write(home, kept)
            else:
                (home / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise CatalogError(
            f"{str(home / FILE)!r} cannot be written: {error.strerror}", "check free space and permissions"
        ) from error
    return len(rows) - len(kept)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        with filelock.FileLock(home / "unanswered.lock", timeout=_WAIT_S, mode=0o600):
            yield
    except filelock.Timeout:
        raise CatalogError(f"{str(home / FILE)!r} is being written by another process", "try again") from None


def _write(home: Path, rows: Collection[Unanswered]) -> None:
    """Write all rows, for their owner alone whatever the umask: what is made here keeps its mode."""
    aside = home / f"{FILE}.writing"
    aside.unlink(missing_ok=True)
    aside.touch(0o600)
    write_whole(home / FILE, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def _row(line: bytes) -> Unanswered | None:
    """A line of the file; None for one that is none of ours."""
    try:
        told = json.loads(line)
        row = Unanswered(_plain(str(told["question"])), int(told["count"]), float(told["first"]), float(told["last"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    whole = row.count > 0 and math.isfinite(row.first) and math.isfinite(row.last)
    return row if whole and _key(row.question) else None


def _plain(question: str) -> str:
    """A question as one line of at most `LONGEST` characters, without any that is not seen or steers a terminal."""
    seen = "".join(c if c.isprintable() else " " for c in well_formed(question[: 4 * LONGEST]))
    line = " ".join(seen.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _key(wording: str) -> str:
    """What wordings of one question have in common; "" for one that says nothing."""
    return " ".join(fold(wording).split()).strip(_ENDS)
