"""Recipe: write a knowledge base into one file while it is in use."""

import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from app.upkeep.beside import KEPT
from core.errors import CatalogError
from core.files import sync_folder
from retrieval.carry import copy_to
from retrieval.catalog import Catalog
from retrieval.home import identity, is_identity
from retrieval.index import Index

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
CATALOG = "catalog.sqlite"
FORM = 1  # of a backup


def backup(index: Index, target: Path) -> dict[str, Any]:
    """Write a knowledge base to one tar file while it is in use; returns its manifest.

    It holds the catalog as of one moment, the uploaded files, golden set, dictionary, calibration and the
    questions that nothing was found for; both caches are built again from the catalog.
    Raises `CatalogError` where the target is there already or cannot be written, and where the catalog is damaged: a
    backup that cannot be restored is none. Then there is no file.
    """
    if target.exists():
        raise CatalogError(f"{str(target)!r} is there already", "choose another name, or remove it first")
    if not target.absolute().parent.is_dir():
        raise CatalogError(f"folder {str(target.parent)!r} does not exist", "make it, or choose another one")
    manifest: dict[str, Any] = {"form": FORM, "kb": index.name, "made": now(), "files": {}}
    manifest["uploads"] = str((index.home / "files").resolve())
    if index.where is None and is_identity(known := identity(index.home)):
        manifest["id"] = known
    try:
        with tempfile.TemporaryDirectory(prefix=".ragstone-backup-", dir=target.absolute().parent) as scratch:
            aside, snapshot = Path(scratch) / "backup.tar", Path(scratch) / CATALOG
            copy_to(index, snapshot)
            with closing(Catalog(snapshot)) as copied:
                damage = copied.problems()
            if damage:
                raise CatalogError(
                    f"{_named(index)} is damaged, so it was not backed up: {damage[0]}",
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


def _named(index: Index) -> str:
    return f"knowledge base {index.name!r}" if index.where else repr(str(index.files.file))


def now() -> str:
    """The time as a manifest and a receipt have it."""
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
