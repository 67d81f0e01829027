"""Recipe: make a knowledge base from a backup, once everything in it is known to be what a backup holds."""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from app.upkeep import beside
from app.upkeep.backup import CATALOG, FORM, MANIFEST, SEAL, kept
from app.upkeep.mapping import Confirm, map_folders
from core.config import Config
from core.errors import CatalogError
from core.files import make_folder, sync_folder
from retrieval import check
from retrieval.carry import Carried, carry, quiet
from retrieval.catalog import Catalog
from retrieval.home import (
    check_name,
    current,
    following,
    generations,
    identity,
    is_identity,
    names,
    promote,
    set_identity,
    writer_lock,
)  # fmt: skip
from retrieval.index import Index
from retrieval.plugged import embedder_of

_BLOCK = 1 << 20
_MANIFEST_BYTES = 64 * _BLOCK  # some hundred thousand uploads
_HEADER_BYTES = 64 * 1024  # of a name that is too long for a plain header


def backed_up(source: Path) -> str:
    """The name of the knowledge base that a backup was made of; whether the backup is whole is for `restore` to say.

    Raises `CatalogError` where it is no backup.
    """
    with _read(source) as archive:
        member = next((m for m in archive if m.name == MANIFEST), None)
        handle = archive.extractfile(member) if member and member.isfile() and member.size <= _MANIFEST_BYTES else None
        if handle is None:
            raise CatalogError(
                f"{str(source)!r} is damaged, or no backup of ragstone: it has no manifest", "take another one"
            )
        return _manifest(source, handle.read())["kb"]


def restore(
    data: Path, kb: str, source: Path, *, replace: bool = False, maps: Sequence[str] = (), cfg: Config | None = None,
    new: Confirm | None = None,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Make a knowledge base from a backup; returns the backup's manifest, and the folders that are followed.

    Before anything is used, every checksum is compared, the catalog must have exactly the tables that this version
    makes (one of an older version is migrated), what people wrote must be readable by whoever reads it, and each of its
    folders must be here and hold some of its documents.
    `maps` are "OLD=NEW": where a folder lies here; "OLD=OLD" follows it whatever is there. `new` is asked about each
    source that none of `maps` names and no knowledge base here follows yet: whoever made the backup would widen what is
    read here. Without it, whoever calls has decided. With `replace` an existing
    knowledge base gets it as its next generation, and `rollback` leads back. It goes into the database of `cfg` where
    one is set; what people wrote and the uploads lie in the data folder there too. Raises `CatalogError` where
    something is amiss, or the knowledge base exists and is not to be replaced; then nothing has changed.
    """
    home = data / check_name(kb)
    database = cfg.app.database if cfg else ""
    if (kb in Index.names(data, database) or (not database and _current(home) is not None)) and not replace:
        raise CatalogError(f"there is a knowledge base {kb!r} already", "give another --kb, or --replace it")
    with _no_trace(data), _no_trace(home):
        make_folder(home)
        with writer_lock(home), tempfile.TemporaryDirectory(prefix=".restore-", dir=home) as name:
            scratch = Path(name)
            manifest = _unpack(source, scratch)
            hint = "take another backup; nothing was changed"
            if problems := check.problems_from_elsewhere(scratch / CATALOG):
                raise CatalogError(f"the catalog in {str(source)!r} cannot be used: {problems[0]}", hint)
            if damaged := beside.damaged(scratch):
                why = damaged[0].message.replace(f"{scratch}/", "").replace(repr(f"{scratch}/")[1:-1], "")
                raise CatalogError(f"what lies beside the catalog in {str(source)!r} cannot be used: {why}", hint)
            with closing(Catalog(scratch / CATALOG)) as catalog:
                followed = map_folders(catalog, home, manifest["uploads"], maps, new, database)
            if cfg and database:
                _settle_in(cfg, scratch, home)
            else:
                _settle(scratch, home, _identity(home, manifest))
    return manifest, followed


def _identity(home: Path, manifest: Mapping[str, Any]) -> str:
    """What is restored under its own name is the knowledge base that it was, unless that is there; else a new one."""
    known = str(manifest.get("id"))
    taken = {_known(home.parent, name) for name in names(home.parent) if name != home.name}
    same = manifest["kb"] == home.name and is_identity(known) and known not in taken
    return known if same else uuid.uuid4().hex


def _known(data: Path, name: str) -> str:
    try:
        return identity(data / name)
    except CatalogError:  # damaged, and not what is restored
        return ""


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


@contextmanager
def _read(source: Path) -> Iterator[tarfile.TarFile]:
    """The backup as an archive, whose headers were looked through; what fails is told."""
    try:
        with source.open("rb") as handle:
            _check_headers(source, handle)
            handle.seek(0)
            with tarfile.open(fileobj=handle, mode="r:") as archive:
                yield archive
    except FileNotFoundError as error:
        raise CatalogError(f"there is no backup {str(source)!r}", "check the path") from error
    except OSError as error:
        raise CatalogError(
            f"the backup {str(source)!r} could not be read or unpacked: {error.strerror}",
            "check its permissions, and the free space in the data folder",
        ) from error
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(source, str(error)) from error


def _damaged(source: Path, why: str) -> CatalogError:
    return CatalogError(f"the backup {str(source)!r} is damaged: {why}", "take another one; nothing was changed")


def _check_headers(source: Path, handle: IO[bytes]) -> None:
    """Refuse members that reach beyond the file, and headers of headers that would fill the memory.

    Nothing is compressed and sparse members are refused, so what is unpacked is no larger than the file.
    """
    size, at = os.fstat(handle.fileno()).st_size, 0
    while at < size:
        handle.seek(at)
        block = handle.read(tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            return
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        long = header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if long and header.size > _HEADER_BYTES:
            raise _damaged(source, f"a header of {header.size:,} bytes")
        at += tarfile.BLOCKSIZE + -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if at > size:
            raise _damaged(source, f"{header.name!r} would reach beyond the end of the file")


def _manifest(source: Path, text: bytes) -> dict[str, Any]:
    """What a backup says of itself, in the form that `backup` writes."""
    manifest = json.loads(text)
    kinds = {"form": int, "kb": str, "made": str, "uploads": str, "files": dict}
    if not isinstance(manifest, dict) or any(not isinstance(manifest.get(key), kind) for key, kind in kinds.items()):
        raise _damaged(source, "its manifest has another form")
    if manifest["form"] > FORM:
        raise CatalogError(f"the backup {str(source)!r} was made by a newer version of ragstone", "use that version")
    return manifest


def _unpack(source: Path, into: Path) -> dict[str, Any]:
    """The members of a backup, written below `into` once their names are known to be harmless, and checked."""
    found: dict[str, dict[str, Any]] = {}
    (into / "files").mkdir()
    with _read(source) as archive:
        for member in archive:
            if member.name in found:
                raise _damaged(source, f"it holds {member.name!r} twice")
            found[member.name] = _copy(_opened(archive, member, source), into / member.name, member.mtime)
        seal = (into / SEAL).read_text("ascii") if SEAL in found else ""
        if MANIFEST not in found or found.pop(MANIFEST)["sha256"] != seal:
            raise _damaged(source, "its checksums do not match, or it has no manifest")
        manifest = _manifest(source, (into / MANIFEST).read_bytes())
    del found[SEAL]
    _compare(source, manifest["files"], found)
    return manifest


def _compare(source: Path, listed: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if missing := sorted({CATALOG, *listed} - found.keys()):
        raise _damaged(source, f"it lacks {missing[0]!r}")
    if extra := sorted(found.keys() - listed.keys()):
        raise _damaged(source, f"it holds {extra[0]!r}, which its manifest does not know")
    if other := sorted(name for name in found if found[name] != listed[name]):
        raise _damaged(source, f"its checksums do not match: {other[0]!r} is not what was written")


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo, source: Path) -> IO[bytes]:
    """A member of a backup. Raises `CatalogError` where it is none that `backup` would write."""
    folder, _, name = member.name.rpartition("/")
    known = member.name in (CATALOG, MANIFEST, SEAL, *beside.KEPT) or (folder == "files" and name and name[0] != ".")
    small = member.name not in (MANIFEST, SEAL) or member.size <= _MANIFEST_BYTES
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    handle = archive.extractfile(member) if known and small and plain else None
    if handle is None:
        raise CatalogError(f"{str(source)!r} holds {member.name!r}", "it is not a backup of ragstone")
    return handle


def _copy(handle: IO[bytes], target: Path, mtime: float) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        while block := handle.read(_BLOCK):
            copy.write(block)
            digest.update(block)
            size += len(block)
        copy.flush()
        os.fsync(copy.fileno())
    os.utime(target, (mtime, mtime))  # which version of a document is the newest is told by it
    return {"bytes": size, "sha256": digest.hexdigest()}


def _settle_in(cfg: Config, scratch: Path, home: Path) -> None:
    """What was unpacked becomes the generation that answers in the database of a configuration."""
    with closing(Catalog(scratch / CATALOG)) as catalog:
        index = Index.open_beside(home, embedder_of(cfg.retrieval), catalog.manifest(), cfg.app.database)
        with closing(index):
            with index.catalog.alone():
                carry(catalog, cast("Carried", index.catalog), quiet)
                index.store.save(whole=True)
            with _moved(_kept_moves(scratch, home), scratch, home):
                index.promote(max(cfg.app.keep_generations, 1))


def _kept_moves(scratch: Path, home: Path) -> list[tuple[Path, Path]]:
    """Where the uploads and what people wrote go."""
    moves = [(file, home / "files" / file.name) for file in (scratch / "files").iterdir()]
    return moves + [(file, home / file.name) for _, file in kept(scratch)]


@contextmanager
def _moved(moves: Sequence[tuple[Path, Path]], scratch: Path, home: Path) -> Iterator[None]:
    """Files are moved; and back where something fails within the block. Raises `CatalogError` where the disk does."""
    undo: list[tuple[Path, Path]] = []
    try:
        for n, (file, target) in enumerate(moves):
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                undo.append((scratch / f"replaced-{n}", target))
                target.replace(scratch / f"replaced-{n}")
            undo.append((target, file))
            file.replace(target)
        yield
    except BaseException as error:
        for file, target in reversed(undo):
            if file.exists():
                file.replace(target)
        if isinstance(error, OSError):
            raise CatalogError(
                f"{str(home)!r} cannot be written: {error.strerror}", "check its permissions; nothing was changed"
            ) from error
        raise


def _settle(scratch: Path, home: Path, identity: str) -> None:
    """What was unpacked becomes the generation that answers. The caches are not in a backup: they are built anew.

    Until it answers, all that is moved is moved back where something fails.
    """
    now, generation = _current(home), following(home)
    moves = [(file, home / generation / file.name) for file in scratch.glob(CATALOG + "*")]
    moves += _kept_moves(scratch, home)
    shutil.rmtree(home / generation, ignore_errors=True)
    try:
        with _moved(moves, scratch, home):
            set_identity(home, generation, identity)
            for folder in {target.parent for _, target in moves}:
                sync_folder(folder)
            promote(home, generation, keep=len(generations(home)) if now else 1)
    except BaseException:
        if _current(home) != generation:
            shutil.rmtree(home / generation, ignore_errors=True)
        raise


def _current(home: Path) -> str | None:
    """The generation that answers, if it is still there: where it is lost, a backup is what helps."""
    try:
        return current(home)
    except CatalogError:
        return None
