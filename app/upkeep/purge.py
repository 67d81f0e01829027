"""Recipe: write a knowledge base anew, so that no file holds what was removed from it."""

import hashlib
import shutil
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.answering import unanswered
from app.keeping.held import Held
from app.measuring import golden
from app.prompting.tune import STUDIES
from app.running.chats import Chats
from app.running.forgetting import Forgotten
from app.training import votes
from app.upkeep.backup import now
from app.upkeep.quoting import Quoting, forget_versions
from core.errors import CatalogError
from core.sources import mirrored
from ingest.correct import lost_note
from ingest.mirror import discard_others
from retrieval.embed import Embedder
from retrieval.home import generations
from retrieval.index import Index
from retrieval.migrations import copies


@dataclass(frozen=True, slots=True)
class Written:
    """What a recipe wrote anew: a file by its name within the knowledge base, or a table of a database, which has no
    SHA-256; bytes before and after.
    """

    file: str
    bytes_before: int
    bytes_after: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `purge` did: every file under the knowledge base, as it stands now, what was removed, and how many answers
    of conversations were erased.
    """

    kb: str
    when: str
    documents: int
    chunks: int
    embeddings_dropped: int
    removed: tuple[str, ...]
    files: tuple[Written, ...]
    answers: int = 0  # of how many conversations, and further ones of which a part of the trace was
    conversations: int = 0
    traces: int = 0

    def as_json(self) -> dict[str, Any]:
        """The receipt as plain data."""
        return asdict(self)


def purge(data: Path, kb: str, embedder: Embedder, database: str = "", library: Path | None = None) -> Receipt:
    """Write every file of a knowledge base anew, so that none holds the text of what was removed from it.

    Earlier generations and unfinished ones go, unused embeddings, questions that nothing was found for, golden
    questions whose evidence is gone, votes and answers of all conversations that rest on it or follow one that does,
    studies of prompts, and of the prompts in `library` those that quote it; SQLite is vacuumed and its journal emptied,
    both caches are built again. Raises `CatalogError` where another process holds on to an old state for long,
    `PromptError` where the library cannot be written.
    """
    index = Index.open(data, kb, embedder, database)
    before = _sizes(index)
    with index.catalog.alone():
        leftovers = _leftovers(index.home) if index.where is None else ()
        removed = [*index.forget_generations(), *leftovers, *_forgotten(index)]
        removed += _forget_corrections(index)
        if (index.home / unanswered.FILE).exists():  # they may quote what was removed
            unanswered.forget(index.home)
            removed.append(unanswered.FILE)
        removed += discard_others(index.home, filter(mirrored, index.catalog.folders()))
        paths = set(index.catalog.paths())
        if (studies := index.home / STUDIES).is_dir():  # their reports and demonstrations quote documents
            shutil.rmtree(studies)
            removed.append(STUDIES)
        quoting = forget_versions(library, index, database) if library else Quoting()
        removed += quoting.removed
        forgotten = _forget_conversations(data, index, quoting.texts)
        removed += _forget_votes(data, index, database, paths, forgotten)
        dropped = index.catalog.vacuum()
        index.store.rebuild()
        counts = index.counts()
    index.close()
    written = tuple(
        Written(name, before.get(name, 0), size, _checksum(index.home / name)) for name, size in _sizes(index).items()
    )
    return Receipt(
        kb, now(), counts.documents, counts.chunks, dropped, tuple(removed), written, len(forgotten.answers),
        forgotten.conversations, forgotten.traces,
    )  # fmt: skip


def _forget_conversations(data: Path, index: Index, shown: Collection[str]) -> Forgotten:
    chats = Chats(data)
    try:
        return chats.forget(Held(index), shown)
    finally:
        chats.close()


def _forget_votes(data: Path, index: Index, database: str, paths: set[str], forgotten: Forgotten) -> Iterator[str]:
    """Drop the votes whose prompts quote what is gone, and those on answers that were erased; yields their names.

    A vote on an answer from several knowledge bases lies in one of them.
    """
    erased = {f"{chat}:{message}" for chat, message in (*forgotten.answers, *forgotten.prompts)}
    for name in Index.names(data, database):
        known = paths if name == index.name else _with_documents(data, name, database, paths)
        yield from (f"{votes.FILE}: {vote}" for vote in votes.forget(data / name / votes.FILE, known, erased))


def _with_documents(data: Path, name: str, database: str, paths: set[str]) -> set[str] | None:
    """Some paths and those of another knowledge base; None where it cannot be read."""
    try:
        with closing(Index.catalog_in(data, name, database)) as catalog:
            return paths.union(catalog.paths())
    except CatalogError:
        return None


def _leftovers(home: Path) -> Iterator[str]:
    """Remove what interrupted work and migrations left behind; yields the names."""
    kept = (copy for generation in generations(home) for copy in copies(home / generation))
    for file in [*home.rglob("*.writing"), *home.glob(".restore-*"), *kept]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        yield file.relative_to(home).as_posix()


def _forgotten(index: Index) -> list[str]:
    """Forget the golden questions that quote what is no longer there; their names within the golden set."""
    file = index.home / golden.FILE
    gone = golden.locate(index, golden.read(file))[1] if file.exists() else []
    if gone:
        golden.forget(file, [row.id for row in gone])
    return [f"{golden.FILE}: question {row.id}" for row in gone]


def _forget_corrections(index: Index) -> list[str]:
    """Forget what was corrected of files that are gone, or of text that is no longer in them; their paths."""
    notes = {(card.folder, card.path): card.notes for card in index.catalog.cards()}
    forgotten: list[str] = []
    with index.catalog.transaction() as write:
        for folder in index.catalog.folders():
            for path, choice in index.catalog.choices(folder).items():
                told = notes.get((folder, path))
                kept = tuple(each for each in choice.corrections if told is not None and lost_note(each) not in told)
                if kept != choice.corrections:
                    write.choose(index.catalog.folder_id(folder), path, replace(choice, corrections=kept))
                    forgotten.append(f"corrections of {path}")
    return forgotten


def _sizes(index: Index) -> dict[str, int]:
    """Bytes of every file of a knowledge base, and of the tables that it lies in, by name."""
    files = sorted(file for file in index.home.rglob("*") if file.is_file())
    tables = index.catalog.sizes() if index.where is not None else {}
    return {file.relative_to(index.home).as_posix(): file.stat().st_size for file in files} | tables


def _checksum(file: Path) -> str:
    if not file.exists():  # a table
        return ""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
