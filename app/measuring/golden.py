"""The golden set of a knowledge base: data/<kb>/golden.jsonl, one question a line, made to be edited by hand.

Evidence is text, so it survives another chunking. A passage holds an evidence sentence when, folded and without white
space, its text contains it; where a chunk boundary cuts the sentence, the chunk with the larger part holds it. A
passage of another file counts too when it says the whole sentence, unless that is so short that it may be a chance.
"""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core.errors import EvalError
from core.files import write_whole
from core.text import digest, fold, language
from core.types import Hit
from retrieval.home import check_name
from retrieval.index import Index

Status = Literal["draft", "approved", "rejected"]
Origin = Literal["heading", "definition", "faq", "model", "person"]
_Text = Annotated[str, StringConstraints(pattern=r"\S")]
FILE = "golden.jsonl"
_DISTINCTIVE = 20  # characters without white space: shorter evidence counts in its own file only
_OCCURRENCES = 20  # of one sentence in one file
_LOCK_WAIT_S = 10.0


class GoldenQuestion(BaseModel):
    """A question, the sentences that answer it, and the file they stand in (its path as `ragstone files` lists it)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: _Text
    question: _Text
    answer: str = ""
    evidence: Annotated[list[_Text], Field(min_length=1)]
    file: _Text
    folder: str = ""
    page: Annotated[int, Field(ge=1)] | None = None
    status: Status
    language: str = ""
    source: Origin = "person"

    def line(self) -> str:
        """The question as a line of the file, without its end."""
        return self.model_dump_json(exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class Located:
    """A question with the chunks that hold each of its evidence sentences now."""

    question: GoldenQuestion
    homes: tuple[frozenset[int], ...]

    def held_by(self, hit: Hit) -> frozenset[int]:
        """Numbers of the evidence sentences that a passage holds."""
        own_file = hit.path == self.question.file
        text = squeeze(hit.text)
        return frozenset(
            n
            for n, (sentence, homes) in enumerate(zip(map(squeeze, self.question.evidence), self.homes, strict=True))
            if hit.chunk_id in homes or ((own_file or len(sentence) >= _DISTINCTIVE) and sentence in text)
        )


@dataclass(frozen=True, slots=True)
class OutOfDate:
    """A question that the knowledge base no longer has the evidence for, and why."""

    id: str
    question: str
    file: str
    reason: str


def golden_file(data: Path, kb: str) -> Path:
    """Where the golden set of a knowledge base is. Raises `CatalogError` for a name that cannot be one's."""
    return data / check_name(kb) / FILE


def made(
    question: str, evidence: Sequence[str], file: str, source: Origin, *, folder: str = "", page: int | None = None,
    answer: str = "", status: Status = "draft",
) -> GoldenQuestion:  # fmt: skip
    """A question whose id follows from what it asks of which file."""
    return GoldenQuestion(
        id=digest(f"{squeeze(question)}\0{folder}\0{file}").hex()[:10], question=question, answer=answer,
        evidence=list(evidence), file=file, folder=folder, page=page, status=status, language=language(question),
        source=source,
    )  # fmt: skip


def read(file: Path) -> list[GoldenQuestion]:
    """The questions of a golden set; none where there is no file. Raises `EvalError` naming file and line."""
    return [question for _, question in _rows(file) if question]


def append(file: Path, questions: Iterable[GoldenQuestion]) -> list[GoldenQuestion]:
    """Add the questions whose id is not there yet, and return them; all other lines stay as they are."""
    with _rewriting(file) as rows:
        known = {question.id for _, question in rows if question}
        added = [question for question in questions if question.id not in known]
        rows += [(question.line(), question) for question in added]
    return added


def set_status(file: Path, ids: Collection[str], status: Status) -> None:
    """Approve, reject or unsettle questions. Raises `EvalError` for an id that is not there; then nothing changes."""
    with _rewriting(file) as rows:
        _check_known(file, ids, rows)
        for place, (_, question) in enumerate(rows):
            if question and question.id in ids:
                changed = question.model_copy(update={"status": status})
                rows[place] = (changed.line(), changed)


def forget(file: Path, ids: Collection[str]) -> None:
    """Take questions out of the file. Raises `EvalError` for an id that is not there; then nothing changes."""
    with _rewriting(file) as rows:
        _check_known(file, ids, rows)
        rows[:] = [(line, question) for line, question in rows if not (question and question.id in ids)]


def add(index: Index, file: Path, question: str, evidence: Sequence[str], document: str) -> GoldenQuestion:
    """Add a question of a person, approved. Raises `EvalError` where the document does not hold the evidence."""
    with _asked():
        new = made(question, evidence, document, "person", status="approved")
    new = _checked(index, new)
    if not append(file, [new]):
        raise EvalError(f"{question!r} is asked of {document!r} already", f"see {new.id} in {str(file)!r}")
    return new


def edit(
    index: Index, file: Path, question_id: str, question: str, evidence: Sequence[str], answer: str
) -> GoldenQuestion:
    """Change what a question asks and what answers it; its id, file and status stay.

    Raises `EvalError` for an unknown id, and where its document does not hold the evidence; then nothing changes.
    """
    with _rewriting(file) as rows:
        _check_known(file, [question_id], rows)
        for place, (_, old) in enumerate(rows):
            if old and old.id == question_id:
                fields = {"question": question, "evidence": list(evidence), "answer": answer}
                with _asked():
                    new = GoldenQuestion.model_validate(old.model_dump() | fields | {"language": language(question)})
                new = _checked(index, new)
                rows[place] = (new.line(), new)
                return new
    raise AssertionError("an id that is known has a row")


@contextmanager
def _asked() -> Iterator[None]:
    """What cannot be a question, as an `EvalError`."""
    try:
        yield
    except ValueError as error:  # empty, or bytes that are no text
        reason = _first(error) if isinstance(error, ValidationError) else str(error)
        raise EvalError(f"this cannot be asked: {reason}", "give a question and its evidence") from None


def _checked(index: Index, new: GoldenQuestion) -> GoldenQuestion:
    """The question with the page of its evidence. Raises `EvalError` where its document does not hold that."""
    located, gone = locate(index, [new])
    if gone:
        paths = [document.path for document in index.catalog.documents()]
        close = ", ".join(difflib.get_close_matches(new.file, paths, n=3))
        hint = f"did you mean {close}?" if new.file not in paths and close else "copy a sentence as `search` shows it"
        raise EvalError(f"{new.file!r}: {gone[0].reason}", hint)
    home = next(iter(index.hits(sorted(located[0].homes[0])).values()))
    return new.model_copy(update={"page": home.page})


def locate(index: Index, questions: Sequence[GoldenQuestion]) -> tuple[list[Located], list[OutOfDate]]:
    """Where the evidence of each question stands now, and the questions whose file or evidence is gone."""
    wanted = {question.file for question in questions}
    by_path: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for document_id, folder, path, *_ in index.catalog.documents():
        if path in wanted:
            by_path[path].append((folder, document_id))

    @lru_cache(maxsize=8)  # questions about a file usually stand together
    def laid_out(document_id: int) -> tuple[str, list[tuple[int, int, int]]]:
        return _laid_out(index.catalog.chunks_of(document_id))

    found, gone = [], []
    for question in questions:
        ids = [i for folder, i in by_path[question.file] if question.folder in ("", folder)]
        homes = [frozenset[int]().union(*(_homes(*laid_out(i), squeeze(s)) for i in ids)) for s in question.evidence]
        if all(homes):
            found.append(Located(question, tuple(homes)))
            continue
        missing = next(s for s, home in zip(question.evidence, homes, strict=True) if not home)
        reason = f"the file no longer says {missing[:80]!r}" if ids else "the file is not in the knowledge base"
        gone.append(OutOfDate(question.id, question.question, question.file, reason))
    return found, gone


@lru_cache(maxsize=20_000)
def squeeze(text: str) -> str:
    """Folded text without white space: what evidence and passages are compared by."""
    return "".join(fold(text).split())


def _laid_out(chunks: Sequence[Hit]) -> tuple[str, list[tuple[int, int, int]]]:
    """A document as one squeezed text, and of each chunk (id, start, end) in it; chunks may overlap."""
    pieces: list[str] = []
    spans: list[tuple[int, int, int]] = []
    length = reached = 0
    for chunk in chunks:
        again = max(reached - chunk.start, 0)
        own = squeeze(chunk.text[again:])
        spans.append((chunk.chunk_id, length - len(squeeze(chunk.text[:again])), length + len(own)))
        pieces.append(own)
        length, reached = length + len(own), max(reached, chunk.end)
    return "".join(pieces), spans


def _homes(text: str, spans: Sequence[tuple[int, int, int]], sentence: str) -> set[int]:
    """The chunks that hold the larger part of a sentence, at each place where the document says it."""
    homes: set[int] = set()
    start = text.find(sentence) if sentence else -1
    for _ in range(_OCCURRENCES):
        if start < 0:
            break
        stop = start + len(sentence)
        parts = {i: min(b, stop) - max(a, start) for i, a, b in spans}
        most = max(parts.values())
        homes |= {i for i, part in parts.items() if part == most or 2 * part > len(sentence)}
        start = text.find(sentence, stop)
    return homes


_Rows = list[tuple[str, GoldenQuestion | None]]


def _rows(file: Path) -> _Rows:
    """Each line with its question; an empty line has none."""
    try:
        text = file.read_text("utf-8-sig")  # as some editors write it
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EvalError(f"{str(file)!r} cannot be read: {reason}", "mend or restore the file") from None
    rows: _Rows = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        question = _parsed(f"{file}:{number}", line) if line.strip() else None
        if question:
            first = seen.setdefault(question.id, number)
            if first != number:
                raise EvalError(
                    f"{file}:{number}: id {question.id!r} is that of line {first} too", "give it another id"
                )
        rows.append((line, question))
    return rows


def _parsed(where: str, line: str) -> GoldenQuestion:
    try:
        return GoldenQuestion.model_validate_json(line)
    except ValidationError as error:
        raise EvalError(
            f"{where}: {_first(error)}", f"keys of a line: {', '.join(GoldenQuestion.model_fields)}"
        ) from None


def _first(error: ValidationError) -> str:
    """What is wrong, as one line."""
    first = error.errors()[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))


def _check_known(file: Path, ids: Collection[str], rows: _Rows) -> None:
    unknown = sorted(set(ids) - {question.id for _, question in rows if question})
    if unknown:
        raise EvalError(f"{str(file)!r} has no question {', '.join(unknown)}", "see `ragstone golden list`")


@contextmanager
def _rewriting(file: Path) -> Iterator[_Rows]:
    """The rows of the file, to be changed in place; they are written aside, synced and renamed at the end.

    Nobody else who comes this way writes meanwhile. Lines that were not changed are written as they were.
    """
    target = file.resolve()  # a link stays one
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name("golden.lock"), timeout=_LOCK_WAIT_S):
            rows = _rows(target)
            yield rows
            write_whole(target, "".join(line + "\n" for line, _ in rows))
    except filelock.Timeout:
        raise EvalError(f"{str(file)!r} is being written by another process", "try again when it ends") from None
    except OSError as error:
        raise EvalError(
            f"{str(file)!r} cannot be written: {error.strerror}", "check free space and permissions"
        ) from error
