"""Recipe: keep a knowledge base safe and clean: backup, purge."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.keeping.held import Held
from app.measuring import golden
from app.prompting import promotions
from app.prompting.tune import STUDIES
from app.running.chats import Chats
from app.running.forgetting import Forgotten
from app.training import votes
from core.errors import CatalogError
from core.files import sync_folder
from retrieval import dictionary, tuning
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import current, drop_generations, generations, identity, is_identity, names, writer_lock
from retrieval.index import Index
from retrieval.migrations import copies

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
CATALOG = "catalog.sqlite"
KEPT = (golden.FILE, dictionary.FILE, tuning.FILE, promotions.FILE)  # what people wrote or found
FORM = 1  # of a backup


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a recipe wrote anew: its name within the knowledge base, bytes before and after, SHA-256."""

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


def backup(index: Index, target: Path) -> dict[str, Any]:
    """Write a knowledge base to one tar file while it is in use; returns its manifest.

    It holds the catalog as of one moment, the uploaded files, golden set, dictionary and calibration; both caches are
    built again from the catalog.
    Raises `CatalogError` where the target is there already or cannot be written, and where the catalog is damaged: a
    backup that cannot be restored is none. Then there is no file.
    """
    if target.exists():
        raise CatalogError(f"{str(target)!r} is there already", "choose another name, or remove it first")
    if not target.absolute().parent.is_dir():
        raise CatalogError(f"folder {str(target.parent)!r} does not exist", "make it, or choose another one")
    manifest: dict[str, Any] = {"form": FORM, "kb": index.name, "made": _now(), "files": {}}
    manifest["uploads"] = str((index.home / "files").resolve())
    if is_identity(known := identity(index.home)):
        manifest["id"] = known
    try:
        with tempfile.TemporaryDirectory(prefix=".ragstone-backup-", dir=target.absolute().parent) as scratch:
            aside, snapshot = Path(scratch) / "backup.tar", Path(scratch) / CATALOG
            index.files.copy_to(snapshot)
            with closing(Catalog(snapshot)) as copied:
                damage = copied.problems()
            if damage:
                raise CatalogError(
                    f"{str(index.files.file)!r} is damaged, so it was not backed up: {damage[0]}",
                    f"`ragstone verify --repair --kb {index.name}` mends what it can; else `ragstone index FOLDER "
                    f"--kb {index.name} --rebuild` with all of its folders, or restore an earlier backup",
                )
            with tarfile.open(aside, "w") as archive:
                for name, file in [(CATALOG, snapshot), *_uploads(index.home), *kept(index.home)]:
                    manifest["files"][name] = _add(archive, name, file)
                text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
                _add_bytes(archive, MANIFEST, text)
                _add_bytes(archive, SEAL, hashlib.sha256(text).hexdigest().encode())
            with aside.open("rb") as handle:
                os.fsync(handle.fileno())
            aside.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        hint = f"check free space and permissions of {str(target.absolute().parent)!r}"
        raise CatalogError(f"the backup {str(target)!r} could not be written: {error.strerror}", hint) from error
    return manifest


def purge(data: Path, kb: str, embedder: Embedder) -> Receipt:
    """Write every file of a knowledge base anew, so that none holds the text of what was removed from it.

    Earlier generations and unfinished ones go, unused embeddings, golden questions whose evidence is gone, votes and
    answers of all conversations that rest on it or follow one that does, studies of prompts; SQLite is vacuumed and its
    journal emptied, both caches are built again. Raises `CatalogError` where another process holds on to an old state
    for long.
    """
    index = Index.open(data, kb, embedder)
    before = {name: size for name, size in _sizes(index.home)}
    with writer_lock(index.home):
        removed = [*drop_generations(index.home, 0), *_leftovers(index.home), *_forgotten(index)]
        paths = set(index.catalog.paths())
        if (studies := index.home / STUDIES).is_dir():  # their reports and demonstrations quote documents
            shutil.rmtree(studies)
            removed.append(STUDIES)
        forgotten = _forget_conversations(data, index)
        removed += _forget_votes(data, kb, paths, forgotten)
        dropped = index.catalog.vacuum()
        index.store.rebuild()
        counts = index.counts()
    index.close()
    written = tuple(
        Written(name, before.get(name, 0), size, _checksum(index.home / name)) for name, size in _sizes(index.home)
    )
    return Receipt(
        kb, _now(), counts.documents, counts.chunks, dropped, tuple(removed), written, len(forgotten.answers),
        forgotten.conversations, forgotten.traces,
    )  # fmt: skip


def _forget_conversations(data: Path, index: Index) -> Forgotten:
    chats = Chats(data)
    try:
        return chats.forget(Held(index))
    finally:
        chats.close()


def _forget_votes(data: Path, kb: str, paths: set[str], forgotten: Forgotten) -> Iterator[str]:
    """Drop the votes whose prompts quote what is gone, and those on answers that were erased; yields their names.

    A vote on an answer from several knowledge bases lies in one of them.
    """
    erased = {f"{chat}:{message}" for chat, message in forgotten.answers}
    for name in names(data):
        known = paths if name == kb else _with_documents(data / name, paths)
        yield from (f"{votes.FILE}: {vote}" for vote in votes.forget(data / name / votes.FILE, known, erased))


def _with_documents(home: Path, paths: set[str]) -> set[str] | None:
    """Some paths and those of another knowledge base; None where it cannot be read."""
    try:
        with closing(Catalog(home / str(current(home)) / CATALOG)) as catalog:
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


def _sizes(home: Path) -> list[tuple[str, int]]:
    files = sorted(file for file in home.rglob("*") if file.is_file())
    return [(file.relative_to(home).as_posix(), file.stat().st_size) for file in files]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _uploads(home: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted((home / "files").glob("[!.]*")):
        if file.is_file():
            yield f"files/{file.name}", file


def kept(home: Path) -> Iterator[tuple[str, Path]]:
    """What people wrote or found in a knowledge base: names and files."""
    yield from ((name, home / name) for name in KEPT if (home / name).is_file())


def _add(archive: tarfile.TarFile, name: str, file: Path) -> dict[str, Any]:
    member = tarfile.TarInfo(name)
    with file.open("rb") as handle:  # an upload that is replaced meanwhile stays this one
        info = os.fstat(handle.fileno())
        member.size, member.mtime = info.st_size, info.st_mtime
        archive.addfile(member, handle)
        handle.seek(0)
        return {"bytes": member.size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _checksum(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
