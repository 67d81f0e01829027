"""Which folders, buckets and pages a restored knowledge base follows: those that lie here, or that somebody names."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from app.keeping.folders import known_folders
from core.errors import CatalogError, ReadError
from core.sources import address, checked, in_bucket, in_web, mirrored
from core.types import KnownFile
from ingest.bucket import check_bucket
from ingest.mirror import holds_some
from ingest.reach import lies_in
from ingest.scan import check_folder, hash_file
from retrieval.catalog import Catalog
from retrieval.index import Index

Confirm = Callable[[str], bool]
_SAMPLE = 1000  # documents of a folder that are looked for


def map_folders(
    catalog: Catalog, home: Path, uploads: str, maps: Sequence[str], new: Confirm | None, database: str
) -> list[str]:  # fmt: skip
    """Have a restored catalog follow its folders where they lie here; returns them. Raises `CatalogError`.

    `new` is asked about each that none of `maps` names and no knowledge base here follows.
    """
    data, own = home.parent.resolve(), str((home / "files").resolve())
    folders = catalog.folders()
    mapped = _mapped([folder for folder in folders if folder != uploads], maps) | {uploads: own}
    if strange := [folder for folder in folders if folder not in mapped and not _is_here(catalog, folder)]:
        first = shlex.quote(strange[0])
        raise CatalogError(
            f"folders of the backup are not here, or hold none of its documents: {', '.join(map(repr, strange))}",
            f"say where each lies: `--map {first}=/its/folder/here`; `--map {first}={first}` follows it as it is",
        )
    there = {folder: mapped.get(folder, folder) for folder in folders}
    followed = [folder for folder in there.values() if folder not in ("", own)]
    for folder in followed:
        others = [other for other in followed if other is not folder]
        inside = not mirrored(folder) and Path(folder).is_relative_to(data)
        if inside or any(_lies_in(folder, other) for other in others):
            raise CatalogError(
                f"{folder!r} would be followed twice, or lies in the data folder", "give each folder one of its own"
            )
    if new:
        _confirm([folder for folder in followed if folder not in mapped.values()], new, home.parent, database)
    catalog.rename_folders(there)
    catalog.set_meta("vectors_saved", "0")  # the caches are built anew
    return followed


def _confirm(sources: Sequence[str], new: Confirm, data: Path, database: str) -> None:
    """Raise `CatalogError` for a source that no knowledge base here follows, unless somebody says that it may be."""
    here: set[str] = set()
    for name in Index.names(data, database):
        with suppress(CatalogError):  # damaged, and what is restored may be to replace it
            here |= set(known_folders(data / name, database))
    for source in sources:
        if source not in here and not new(source):
            raise CatalogError(
                f"the backup follows {source!r}, which no knowledge base here follows",
                f"`--map {shlex.quote(source)}={shlex.quote(source)}` follows it; or name where its documents lie",
            )


def _lies_in(inner: str, outer: str) -> bool:
    """Whether two sources are one, or one is within the other: a page of the web holds no other."""
    return inner == outer if in_web(inner) else lies_in(inner, outer)


def _mapped(folders: Sequence[str], maps: Sequence[str]) -> dict[str, str]:
    """Where each folder of "OLD=NEW" lies. A name may hold a "=": OLD is one of the folders."""
    mapped: dict[str, str] = {}
    for text in maps:
        old = next((folder for folder in folders if text.startswith(folder + "=")), None)
        if old is None:
            raise CatalogError(
                f"--map {text!r} names no folder of the backup",
                f"write OLD=NEW; its folders: {', '.join(map(repr, folders)) or 'none'}",
            )
        new = text.removeprefix(old + "=")
        if new != old and in_bucket(new):
            new = address(new)
            check_bucket(new)
        elif new != old and in_web(new):
            new = checked(new)
        elif new != old:
            check_folder(Path(new).expanduser())
            new = str(Path(new).expanduser().resolve())
        mapped[old] = new
    return mapped


def _is_here(catalog: Catalog, folder: str) -> bool:
    """Whether a folder is the one that was backed up, as far as can be told: it holds one of the documents as it was.

    One without a name is none: its documents came from a program.
    """
    known = list(islice(catalog.known_files(folder), _SAMPLE))
    if in_web(folder):  # the address is all that is known of it; the next run asks for it
        return True
    if in_bucket(folder):
        return bool(known) and _holds_some(folder, {file.path for file in known})
    return not folder or any(_is_unchanged(Path(folder) / file.path, file) for file in known)


def _is_unchanged(path: Path, known: KnownFile) -> bool:
    try:
        return path.is_file() and path.stat().st_size == known.size and hash_file(path) == known.hash
    except OSError:
        return False


def _holds_some(source: str, paths: set[str]) -> bool:
    try:
        return holds_some(source, paths)
    except ReadError as error:
        raise CatalogError(
            error.message, f"{error.hint}; `--map {source}={source}` follows it without a look"
        ) from None
