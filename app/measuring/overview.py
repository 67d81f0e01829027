"""Recipe: how a collection is: what is in it, what could not be read, what is there twice or old, what is missing.

All of it comes from the catalog and from the questions that are kept (`app.answering.unanswered`); no file is opened,
and what is done is bounded, however large the collection:

- Near-duplicates are reckoned from the sketches that indexing made of whole documents (`retrieval.minhash`), of the
  `COMPARED` documents that came last. Those that share a band of the sketch are compared with a few of it, not each
  with each; from an estimated Jaccard similarity of 0.8 they are together, and so are files of the same bytes.
- Of the questions the `_QUESTIONS` most asked are grouped, each with the first whose cosine is close enough.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from app.answering import unanswered
from app.answering.unanswered import Unanswered
from core.config import Config
from core.types import F32, FileError
from retrieval.index import Index
from retrieval.minhash import SIMILAR, bands, similarity
from retrieval.reading import Sketched
from retrieval.search import search
from retrieval.transaction import DAMAGED
from retrieval.versions import newer

COMPARED = 5_000  # documents of which near-duplicates are looked for
SHOWN = 50  # old files, groups of duplicates, files of such a group, and reasons that are named
_LEADERS = 4  # of a band, with which another document of it is compared
_QUESTIONS = 200  # wordings that are grouped
_GROUPS = 30  # of questions, for which the nearest passage is looked for
# Of the way from what has nothing to do with a question (0) to the same text (1). By the default embedder two wordings
# of one question in one language are at 0.65 and more, other questions at 0.45 and less, but for those that differ in a
# word alone (paternity, maternity leave: 0.84); wordings in two languages are at 0.45 and less too.
_ALIKE = 0.6
_NAMES = 5  # files of a reason, and wordings of a group, that are named
_MONTH_S = 365.25 / 12 * 86_400


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a collection is in one language or format: files, passages, and pages where there are any."""

    name: str
    files: int
    chunks: int
    pages: int


@dataclass(frozen=True, slots=True)
class Unread:
    """Files that could not be read, for which the same is to be done: how many, the first few, and why."""

    count: int
    paths: tuple[str, ...]
    error: str
    hint: str


@dataclass(frozen=True, slots=True)
class Edition:
    """A file of which near-identical ones are there.

    `likeness` is the estimated Jaccard similarity to the first of its group, 0 to 1. `older`: one of them is newer.
    """

    folder: str
    path: str
    likeness: float
    changed: float  # seconds since 1970
    older: bool


@dataclass(frozen=True, slots=True)
class Alike:
    """Files that say nearly the same, the newest first where it can be told; `count` is how many, named or not."""

    count: int
    files: tuple[Edition, ...]


@dataclass(frozen=True, slots=True)
class Old:
    """A file that has not changed since `changed`, in seconds since 1970."""

    folder: str
    path: str
    changed: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """The passage nearest to a question, by its place; `read_since`: its file was read after the question."""

    path: str
    headings: tuple[str, ...]
    page: int | None
    chunk_id: int
    read_since: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """Questions that nothing was found for and that ask for the same: how often in all, and when last.

    `questions` are the most asked wordings, `ids` those of all (`unanswered.forget`).
    """

    asked: int
    last: float
    questions: tuple[str, ...]
    ids: tuple[str, ...]
    nearest: Nearest | None


@dataclass(frozen=True, slots=True)
class Overview:
    """How a collection is. Counts are of all there is, lists are bounded: `SHOWN`, `COMPARED`.

    `kept` says whether questions are kept now, `months` after which time a file is old.
    """

    kb: str
    documents: int
    chunks: int
    languages: tuple[Share, ...]
    formats: tuple[Share, ...]
    failed: int
    unread: tuple[Unread, ...]
    left_out: int
    compared: int
    alike: tuple[Alike, ...]
    duplicates: int  # files that are in any such group
    superseded: int  # of these, those of which a newer one is there
    months: int
    old: tuple[Old, ...]
    old_files: int
    kept: bool
    wordings: int
    missing: tuple[Missing, ...]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def overview(index: Index, cfg: Config, months: int | None = None, now: float | None = None) -> Overview:
    """The report on a knowledge base; `months` instead of `app.stale_months`, `now` in seconds since 1970.

    Raises `CatalogError` where the questions that are kept cannot be read, `ModelError` where the embedder cannot be
    used for them.
    """
    months, catalog = months or cfg.app.stale_months, index.catalog
    languages, formats = _shares(index)
    failures = catalog.failures()
    documents = catalog.sketched(COMPARED)
    groups = alike(documents)
    before = (time.time() if now is None else now) - months * _MONTH_S
    old, old_files = catalog.unchanged(int(before * 1e9), SHOWN)
    questions = unanswered.read(index.home)
    counts = index.counts()
    return Overview(
        index.name, counts.documents, counts.chunks, languages, formats, len(failures),
        tuple(_unread(group) for group in grouped(failures)[:SHOWN]), catalog.files("left_out", "", 0, 0)[1],
        len(documents), tuple(_shown(group) for group in groups[:SHOWN]), sum(map(len, groups)),
        sum(edition.older for group in groups for edition in group), months,
        tuple(Old(row.folder, row.path, row.mtime_ns / 1e9) for row in old), old_files, cfg.app.keep_unanswered,
        len(questions), missing(index, cfg, questions),
    )  # fmt: skip


def grouped(failures: Iterable[FileError]) -> list[list[FileError]]:
    """Failures by what is to be done, the most common first."""
    groups: dict[str, list[FileError]] = defaultdict(list)
    for failure in failures:
        groups[failure.hint or failure.error].append(failure)
    return sorted(groups.values(), key=len, reverse=True)


def day(seconds: float) -> str:
    """A day in local time; "" for a time that is none."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""


def _shares(index: Index) -> tuple[tuple[Share, ...], tuple[Share, ...]]:
    """Languages and formats, the most files first."""
    found: tuple[dict[str, list[int]], ...] = (defaultdict(lambda: [0, 0, 0]), defaultdict(lambda: [0, 0, 0]))
    for row in index.catalog.extents():
        suffix = PurePosixPath(row.path).suffix.casefold().removeprefix(".")
        for sums, name in zip(found, (row.language, suffix), strict=True):
            for place, number in enumerate((1, row.chunks, row.pages or 0)):
                sums[name][place] += number
    languages, formats = (
        tuple(Share(name, *numbers) for name, numbers in sorted(sums.items(), key=lambda item: (-item[1][0], item[0])))
        for sums in found
    )
    return languages, formats


def _unread(group: Sequence[FileError]) -> Unread:
    return Unread(len(group), tuple(failure.path for failure in group[:_NAMES]), group[0].error, group[0].hint)


def _shown(group: Sequence[Edition]) -> Alike:
    return Alike(len(group), tuple(group[:SHOWN]))


# --- what is there twice ---------------------------------------------------------------------------------------------


def alike(documents: Sequence[Sketched]) -> list[list[Edition]]:
    """Documents that say nearly the same, in groups, the largest first; each with the newest first where that is told.

    The number of comparisons is at most 80 for a document.
    """
    first = list(range(len(documents)))  # each document's representative, a forest as in union-find

    def of(n: int) -> int:
        while first[n] != n:
            first[n] = first[first[n]]
            n = first[n]
        return n

    leaders: dict[tuple[str, str | int], list[int]] = defaultdict(list)
    for n, document in enumerate(documents):
        same_bytes = [] if document.hash == DAMAGED else [("bytes", document.hash)]
        for key in (*same_bytes, *(("band", band) for band in bands(document.version.sketch))):
            led = leaders[key]
            same = next((m for m in led if of(m) == of(n) or _likeness(documents[m], document) >= SIMILAR), None)
            if same is not None:
                first[of(n)] = of(same)
            elif len(led) < _LEADERS:
                led.append(n)
    groups: dict[int, list[Sketched]] = defaultdict(list)
    for n, document in enumerate(documents):
        groups[of(n)].append(document)
    found = [_editions(group) for group in groups.values() if len(group) > 1]
    return sorted(found, key=lambda group: (-len(group), group[0].path))


def _likeness(one: Sketched, other: Sketched) -> float:
    same = one.hash == other.hash != DAMAGED
    return 1.0 if same else similarity(one.version.sketch, other.version.sketch)


def _editions(group: Sequence[Sketched]) -> list[Edition]:
    """A group with its newest file first, and what is older than that or than another behind it, by path."""
    newest = group[0]
    for document in group[1:]:
        if newer(document.version, newest.version):
            newest = document
    rows = [
        Edition(d.folder, d.version.path, round(_likeness(newest, d), 3), d.version.mtime_ns / 1e9,
                newer(newest.version, d.version))
        for d in group
    ]  # fmt: skip
    lead = rows.pop(next(n for n, document in enumerate(group) if document is newest))
    return [lead, *sorted(rows, key=lambda row: (row.older, row.path, row.folder))]


# --- what is missing -------------------------------------------------------------------------------------------------


def missing(index: Index, cfg: Config, questions: Sequence[Unanswered]) -> tuple[Missing, ...]:
    """The most asked questions in groups of the same, the most asked first, each with what comes nearest to it."""
    groups = _same(index, questions[:_QUESTIONS])
    groups.sort(key=lambda group: (-sum(row.count for row in group), -max(row.last for row in group)))
    return tuple(_missing(index, cfg, group) for group in groups[:_GROUPS])


def _same(index: Index, questions: Sequence[Unanswered]) -> list[list[Unanswered]]:
    """Each question joins the first group whose first question is near enough, or begins one.

    One that the embedder cannot read stays alone.
    """
    readings = index.embedder.read([row.question for row in questions]) if questions else []
    groups: list[list[Unanswered]] = []
    heads: list[tuple[F32, float, list[Unanswered]]] = []
    for row, reading in zip(questions, readings, strict=True):
        if not reading.readable:
            groups.append([row])
            continue
        vector = index.vector(row.question)
        floor = index.background.of(vector)
        for head, base, group in heads:
            if float(vector @ head) >= _ALIKE + (1 - _ALIKE) * max(floor, base):
                group.append(row)
                break
        else:
            heads.append((vector, floor, [row]))
            groups.append(heads[-1][2])
    return groups


def _missing(index: Index, cfg: Config, group: Sequence[Unanswered]) -> Missing:
    last = max(row.last for row in group)
    hit = next(iter(search(index, [group[0].question], cfg.retrieval, k=1)), None)
    nearest = None
    if hit is not None and (document := index.catalog.document(hit.document_id)):
        nearest = Nearest(hit.path, hit.headings, hit.page, hit.chunk_id, document.indexed_at > last)
    questions, ids = tuple(row.question for row in group[:_NAMES]), tuple(row.id for row in group)
    return Missing(sum(row.count for row in group), last, questions, ids, nearest)
