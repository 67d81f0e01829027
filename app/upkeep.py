"""Recipe: keep a knowledge base safe and clean: backup, restore, purge."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import CatalogError
from retrieval import check
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import check_name, current, drop_generations, generations, promote, writer_lock
from retrieval.index import Index
from retrieval.vectors import sync_folder

_MANIFEST = "manifest.json"
_SEAL = "manifest.sha256"
_CATALOG = "catalog.sqlite"
_BLOCK = 1 << 20
_FORM = 1  # of a backup


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a recipe wrote anew: its name within the knowledge base, bytes before and after, SHA-256."""

    file: str
    bytes_before: int
    bytes_after: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `purge` did: every file under the knowledge base, as it stands now, and what was removed."""

    kb: str
    when: str
    documents: int
    chunks: int
    embeddings_dropped: int
    removed: tuple[str, ...]
    files: tuple[Written, ...]

    def as_json(self) -> dict[str, Any]:
        """The receipt as plain data."""
        return asdict(self)


def backup(index: Index, target: Path) -> dict[str, Any]:
    """Write a knowledge base to one tar file while it is in use; returns its manifest.

    It holds the catalog as of one moment, and the uploaded files; both caches are built again from the catalog.
    Raises `CatalogError` where the target is there already or cannot be written.
    """
    if target.exists():
        raise CatalogError(f"{str(target)!r} is there already", "choose another name, or remove it first")
    aside = target.with_name(target.name + ".writing")
    manifest: dict[str, Any] = {"form": _FORM, "kb": index.name, "made": _now(), "files": {}}
    manifest["uploads"] = str((index.home / "files").resolve())
    try:
        with tempfile.TemporaryDirectory(prefix=".ragstone-backup-", dir=target.absolute().parent) as scratch:
            snapshot = Path(scratch) / _CATALOG
            _snapshot(index.catalog, snapshot)
            with tarfile.open(aside, "w") as archive:
                for name, file in [(_CATALOG, snapshot), *_uploads(index.home)]:
                    manifest["files"][name] = _add(archive, name, file)
                text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
                _add_bytes(archive, _MANIFEST, text)
                _add_bytes(archive, _SEAL, hashlib.sha256(text).hexdigest().encode())
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(target)
        sync_folder(target.absolute().parent)
    except (OSError, sqlite3.Error) as error:
        aside.unlink(missing_ok=True)
        raise CatalogError(f"the backup {str(target)!r} could not be written: {error}", "free some space") from error
    return manifest


def restore(data: Path, kb: str, source: Path, *, replace: bool = False) -> dict[str, Any]:
    """Make a knowledge base from a backup, after every checksum was compared; returns the backup's manifest.

    With `replace` an existing one gets it as its next generation, and `rollback` leads back. Raises `CatalogError`
    where the backup is damaged, or the knowledge base exists and is not to be replaced; then nothing has changed.
    """
    home = data / check_name(kb)
    if _current(home) is not None and not replace:
        raise CatalogError(f"there is a knowledge base {kb!r} already", "give another --kb, or --replace it")
    home.mkdir(parents=True, exist_ok=True)
    with writer_lock(home), tempfile.TemporaryDirectory(prefix=".restore-", dir=home) as scratch:
        manifest = _unpack(source, Path(scratch))
        catalog = Catalog(Path(scratch) / _CATALOG)
        problems = check.problems(catalog) if catalog.has_schema() else ["written by another version of ragstone"]
        if problems:
            raise CatalogError(f"the catalog in {str(source)!r} cannot be used: {problems[0]}", "take another backup")
        catalog.rename_folder(manifest["uploads"], str((home / "files").resolve()))
        catalog.close()
        now = _current(home)
        last = now or max((folder.stem for folder in home.glob("g[0-9]*")), default="g0000")
        generation = f"g{int(last[1:]) + 1:04d}"
        shutil.rmtree(home / generation, ignore_errors=True)
        (home / generation).mkdir()
        for file in Path(scratch).glob(_CATALOG + "*"):
            file.replace(home / generation / file.name)
        for file in (Path(scratch) / "files").glob("*"):
            (home / "files").mkdir(exist_ok=True)
            file.replace(home / "files" / file.name)
        promote(home, generation, keep=len(generations(home)) if now else 1)
    return manifest


def _current(home: Path) -> str | None:
    """The generation that answers, if it is still there: where it is lost, a backup is what helps."""
    try:
        return current(home)
    except CatalogError:
        return None


def purge(data: Path, kb: str, embedder: Embedder) -> Receipt:
    """Write every file of a knowledge base anew, so that none holds the text of what was removed from it.

    Earlier generations and unfinished ones go, unused embeddings go, SQLite is vacuumed and its journal emptied, both
    caches are built again. Raises `CatalogError` where another process holds on to an old state for long.
    """
    index = Index.open(data, kb, embedder)
    before = {name: size for name, size in _sizes(index.home)}
    with writer_lock(index.home):
        removed = [*drop_generations(index.home, 0), *_leftovers(index.home)]
        dropped = index.catalog.vacuum()
        index.drop_caches()
        counts = index.counts()
    index.close()
    written = tuple(
        Written(name, before.get(name, 0), size, _checksum(index.home / name)) for name, size in _sizes(index.home)
    )
    return Receipt(kb, _now(), counts.documents, counts.chunks, dropped, tuple(removed), written)


def _leftovers(home: Path) -> Iterator[str]:
    """Remove what interrupted work left behind; yields the names."""
    for file in [*home.rglob("*.writing"), *home.glob(".restore-*")]:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        yield file.relative_to(home).as_posix()


def _sizes(home: Path) -> list[tuple[str, int]]:
    files = sorted(file for file in home.rglob("*") if file.is_file())
    return [(file.relative_to(home).as_posix(), file.stat().st_size) for file in files]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _snapshot(catalog: Catalog, into: Path) -> None:
    """SQLite's online backup: writers go on, and the copy is as of one moment."""
    with (
        sqlite3.connect(catalog.file.absolute().as_uri() + "?mode=ro", uri=True) as source,
        sqlite3.connect(into) as copy,
    ):
        source.backup(copy)
    copy.close()
    source.close()


def _uploads(home: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted((home / "files").glob("[!.]*")):
        if file.is_file():
            yield f"files/{file.name}", file


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


def _unpack(source: Path, into: Path) -> dict[str, Any]:
    """The members of a backup, written below `into` once their names are known to be harmless, and checked."""
    found: dict[str, dict[str, Any]] = {}
    manifest: dict[str, Any] = {}
    seal = ""
    (into / "files").mkdir()
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                found[member.name] = _copy(_opened(archive, member, source), into / member.name, member.mtime)
        if _MANIFEST in found and _SEAL in found:
            seal = (into / _SEAL).read_text("ascii")
            manifest = json.loads((into / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CatalogError(f"there is no backup {str(source)!r}", "check the path") from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise CatalogError(f"the backup {str(source)!r} is damaged: {error}", "take another one") from error
    sealed = found.pop(_MANIFEST, {}).get("sha256") == seal and found.pop(_SEAL, None)
    if not sealed or manifest.get("form") != _FORM or manifest.get("files") != found or _CATALOG not in found:
        hint = "take another one; nothing was changed"
        raise CatalogError(f"the backup {str(source)!r} is damaged: its checksums do not match", hint)
    return manifest


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo, source: Path) -> IO[bytes]:
    """A member of a backup. Raises `CatalogError` where it is none that `backup` would write."""
    folder, _, name = member.name.rpartition("/")
    known = member.name in (_CATALOG, _MANIFEST, _SEAL) or (folder == "files" and name not in ("", ".", ".."))
    handle = archive.extractfile(member) if known and member.isfile() and not member.issparse() else None
    if handle is None:
        raise CatalogError(f"{str(source)!r} holds {member.name!r}", "it is not a backup of ragstone")
    return handle


def _copy(handle: IO[bytes], target: Path, mtime: float) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as copy:
        while block := handle.read(_BLOCK):
            copy.write(block)
            digest.update(block)
            size += len(block)
        copy.flush()
        os.fsync(copy.fileno())
    os.utime(target, (mtime, mtime))  # which version of a document is the newest is told by it
    return {"bytes": size, "sha256": digest.hexdigest()}


def _checksum(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
