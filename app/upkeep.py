"""Recipe: keep a knowledge base safe and clean: backup, restore, purge."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from app.measuring import golden
from app.prompting import promotions
from app.prompting.tune import STUDIES
from app.running import chats
from app.running.chats import Chats
from app.training import votes
from core.errors import CatalogError
from core.files import sync_folder
from retrieval import check, dictionary, tuning
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import check_name, current, drop_generations, following, generations, promote, writer_lock
from retrieval.index import Index

_MANIFEST = "manifest.json"
_SEAL = "manifest.sha256"
_CATALOG = "catalog.sqlite"
_KEPT = (golden.FILE, dictionary.FILE, tuning.FILE, promotions.FILE)  # what people wrote or found
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

    It holds the catalog as of one moment, the uploaded files, golden set, dictionary and calibration; both caches are
    built again from the catalog.
    Raises `CatalogError` where the target is there already or cannot be written, and where the catalog is damaged: a
    backup that cannot be restored is none. Then there is no file.
    """
    if target.exists():
        raise CatalogError(f"{str(target)!r} is there already", "choose another name, or remove it first")
    if not target.absolute().parent.is_dir():
        raise CatalogError(f"folder {str(target.parent)!r} does not exist", "make it, or choose another one")
    manifest: dict[str, Any] = {"form": _FORM, "kb": index.name, "made": _now(), "files": {}}
    manifest["uploads"] = str((index.home / "files").resolve())
    try:
        with tempfile.TemporaryDirectory(prefix=".ragstone-backup-", dir=target.absolute().parent) as scratch:
            aside, snapshot = Path(scratch) / "backup.tar", Path(scratch) / _CATALOG
            index.catalog.copy_to(snapshot)
            if damage := _problems(snapshot):
                raise CatalogError(
                    f"{str(index.catalog.file)!r} is damaged, so it was not backed up: {damage[0]}",
                    f"`ragstone verify --repair --kb {index.name}` mends what it can; else `ragstone index FOLDER "
                    f"--kb {index.name} --rebuild` with all of its folders, or restore an earlier backup",
                )
            with tarfile.open(aside, "w") as archive:
                for name, file in [(_CATALOG, snapshot), *_uploads(index.home), *_kept(index.home)]:
                    manifest["files"][name] = _add(archive, name, file)
                text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
                _add_bytes(archive, _MANIFEST, text)
                _add_bytes(archive, _SEAL, hashlib.sha256(text).hexdigest().encode())
            with aside.open("rb") as handle:
                os.fsync(handle.fileno())
            aside.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        hint = f"check free space and permissions of {str(target.absolute().parent)!r}"
        raise CatalogError(f"the backup {str(target)!r} could not be written: {error.strerror}", hint) from error
    return manifest


def backed_up(source: Path) -> str:
    """The name of the knowledge base that a backup was made of; whether the backup is whole is for `restore` to say.

    Raises `CatalogError` where it is no backup.
    """
    try:
        with tarfile.open(source, "r:") as archive:
            member = next((m for m in archive if m.name == _MANIFEST and m.isfile() and m.size <= _BLOCK * 64), None)
            handle = archive.extractfile(member) if member else None
            name = json.loads(handle.read())["kb"] if handle else None
    except OSError as error:
        raise _unreadable(source, error) from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CatalogError(f"the backup {str(source)!r} is damaged: {error}", "take another one") from error
    if not isinstance(name, str):
        raise CatalogError(
            f"{str(source)!r} is damaged, or no backup of ragstone: it has no manifest", "take another one"
        )
    return name


def _unreadable(source: Path, error: OSError) -> CatalogError:
    if isinstance(error, FileNotFoundError):
        return CatalogError(f"there is no backup {str(source)!r}", "check the path")
    return CatalogError(f"the backup {str(source)!r} could not be read or unpacked: {error.strerror}",
                        "check its permissions, and the free space in the data folder")  # fmt: skip


def restore(data: Path, kb: str, source: Path, *, replace: bool = False) -> dict[str, Any]:
    """Make a knowledge base from a backup, after every checksum was compared; returns the backup's manifest.

    With `replace` an existing one gets it as its next generation, and `rollback` leads back. Raises `CatalogError`
    where the backup is damaged, or the knowledge base exists and is not to be replaced; then nothing has changed.
    """
    home = data / check_name(kb)
    if _current(home) is not None and not replace:
        raise CatalogError(f"there is a knowledge base {kb!r} already", "give another --kb, or --replace it")
    with _no_trace(data), _no_trace(home):
        home.mkdir(parents=True, exist_ok=True)
        with writer_lock(home), tempfile.TemporaryDirectory(prefix=".restore-", dir=home) as scratch:
            manifest = _unpack(source, Path(scratch))
            if problems := _problems(Path(scratch) / _CATALOG):
                hint = "take another backup; nothing was changed"
                raise CatalogError(f"the catalog in {str(source)!r} cannot be used: {problems[0]}", hint)
            _settle(Path(scratch), home, manifest)
    return manifest


@contextmanager
def _no_trace(folder: Path) -> Iterator[None]:
    """Where it fails, a folder that was not there before is not there afterwards."""
    new = not folder.exists()
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _settle(scratch: Path, home: Path, manifest: dict[str, Any]) -> None:
    """What was unpacked becomes the generation that answers. The caches are not in a backup: they are built anew."""
    with closing(Catalog(scratch / _CATALOG)) as catalog:
        catalog.rename_folder(manifest["uploads"], str((home / "files").resolve()))
        catalog.set_meta("vectors_saved", "0")
    now, generation = _current(home), following(home)
    shutil.rmtree(home / generation, ignore_errors=True)
    (home / generation).mkdir()
    for file in scratch.glob(_CATALOG + "*"):
        file.replace(home / generation / file.name)
    for file in (scratch / "files").glob("*"):
        (home / "files").mkdir(exist_ok=True)
        file.replace(home / "files" / file.name)
    for _, file in _kept(scratch):
        file.replace(home / file.name)
    promote(home, generation, keep=len(generations(home)) if now else 1)


def _problems(file: Path) -> list[str]:
    with closing(Catalog(file)) as catalog:
        return check.problems(catalog)


def _current(home: Path) -> str | None:
    """The generation that answers, if it is still there: where it is lost, a backup is what helps."""
    try:
        return current(home)
    except CatalogError:
        return None


def purge(data: Path, kb: str, embedder: Embedder) -> Receipt:
    """Write every file of a knowledge base anew, so that none holds the text of what was removed from it.

    Earlier generations and unfinished ones go, unused embeddings, golden questions whose evidence is gone, votes and
    answers that rest on it, studies of prompts; SQLite is vacuumed and its journal emptied, both caches are built
    again. Raises `CatalogError` where another process holds on to an old state for long.
    """
    index = Index.open(data, kb, embedder)
    before = {name: size for name, size in _sizes(index.home)}
    with writer_lock(index.home):
        removed = [*drop_generations(index.home, 0), *_leftovers(index.home), *_forgotten(index)]
        paths = {path for (path,) in index.catalog.rows("SELECT path FROM documents")}
        if (studies := index.home / STUDIES).is_dir():  # their reports and demonstrations quote documents
            shutil.rmtree(studies)
            removed.append(STUDIES)
        removed += [f"{votes.FILE}: {name}" for name in votes.forget(index.home / votes.FILE, paths)]
        if erased := Chats(data).forget(kb, paths):
            removed.append(f"{chats.FILE}: {erased} answers")
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


def _kept(home: Path) -> Iterator[tuple[str, Path]]:
    yield from ((name, home / name) for name in _KEPT if (home / name).is_file())


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
    except OSError as error:
        raise _unreadable(source, error) from error
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
    known = member.name in (_CATALOG, _MANIFEST, _SEAL, *_KEPT) or (folder == "files" and name not in ("", ".", ".."))
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
