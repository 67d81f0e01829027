"""Which folders, buckets and pages a run is about, and whether what they say can be meant."""

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from core.config import Config, IngestConfig
from core.errors import AccessError, CatalogError, ConfigError, ReadError
from core.sources import address, in_bucket, in_web, mirrored, named, place
from core.types import FileError
from ingest.bucket import check_bucket
from ingest.mirror import discard, refresh
from ingest.pages import SWITCH_ON, Asking, check_page
from ingest.pages import refresh as refresh_page
from ingest.reach import Reach
from ingest.read import supported
from ingest.scan import Plan, check_folder
from retrieval import check
from retrieval.catalog import Catalog
from retrieval.home import check_name, no_writer
from retrieval.index import Index
from retrieval.migrations import upgrade
from retrieval.plugged import home_of

log = logging.getLogger(__name__)

_MANY = 10  # documents: a folder that had so many and has none by now is more likely away than emptied


def folders_of(cfg: Config, kb: str, given: Sequence[Path | str], *, rebuild: bool) -> list[str]:
    """The sources that a run is about: the given ones, or all that the knowledge base has; of a rebuild, both.

    Raises `ReadError` for a given one that cannot be read, `ConfigError` where there is none, where one lies in the
    data folder, or in another one: its files would be there twice. The uploads may: the data folder is left out where
    one around it is read. Raises `CatalogError` where the catalog cannot be read; a rebuild of given folders replaces
    it.
    """
    data = Path(cfg.app.data).resolve()
    home = data / check_name(kb)
    chosen = list(dict.fromkeys(map(named, given)))
    for folder, path in zip(given, map(named, given), strict=True):
        if not mirrored(path):
            check_folder(Path(folder))
            if Path(path).is_relative_to(data) and Path(path) != home / "files":
                raise ConfigError(
                    f"{path!r} lies in the data folder {str(data)!r}",
                    "give a folder of documents; for these to be documents, keep the data elsewhere (RAGSTONE_DATA)",
                )
    lost = rebuild and given and not cfg.app.database
    known = _known_or_lost(home) if lost else known_folders(home, cfg.app.database)
    for path in chosen:
        if mirrored(path) and path not in known:
            _check_new(path, cfg)
    every = chosen + [other for other in known if other not in chosen]
    for inner in every:
        for outer in every:
            if in_web(inner):  # one page, which holds no other
                continue
            if inner.startswith(outer.rstrip("/") + "/") and not Path(inner).is_relative_to(data):
                which = inner if inner in known else outer
                hint = f"leave it out, or `ragstone remove {which} --kb {kb}` first" if known else "give one of them"
                raise ConfigError(f"{inner!r} lies in {outer!r}: its files would be there twice", hint)
    if not every:
        raise ConfigError(f"knowledge base {kb!r} follows no folder yet", f"give one: ragstone index FOLDER --kb {kb}")
    return every if rebuild or not chosen else chosen


def _check_new(source: str, cfg: Config) -> None:
    """Raise `ReadError` where a bucket or a page cannot be had, `ConfigError` while pages are switched off."""
    if in_bucket(source):
        check_bucket(source)
    elif not cfg.app.web_pages:
        raise ConfigError("web pages are not followed: app.web_pages is off", SWITCH_ON)
    else:
        check_page(source)


def asking(cfg: Config, *, whole_run: bool = True) -> Asking:
    """Whether pages of the web are asked for: never where they are switched off, while watching those that are due."""
    return "off" if not cfg.app.web_pages else "now" if whole_run else "due"


def brought(
    home: Path, source: str, cfg: IngestConfig, progress: Callable[[str, int, int], None], pages: Asking | None = None
) -> tuple[Path, Plan]:
    """Where the files of a source lie: of a bucket or a page once its mirror is up to date; and what failed on the way.

    Raises `ReadError` where the source as a whole cannot be read, `CatalogError` where another process downloads it.
    """
    if in_bucket(source):
        return place(home, source), refresh(home, source, cfg, progress)
    if in_web(source):
        return place(home, source), refresh_page(home, source, cfg, pages)
    check_no_link(Path(source))
    return Path(source), Plan()


def reach_of(home: Path, source: str, cfg: IngestConfig) -> Reach:
    """Where the files of a source lie, once they were `brought`, and what may be read by way of it."""
    reach = Reach.of(place(home, source), cfg, home.parent)
    return reach if mirrored(source) else replace(reach, root=source)  # a folder is what it was when it was named


def known_folders(home: Path, database: str = "") -> list[str]:
    """The folders that a knowledge base follows; none where there is no knowledge base."""
    if database:
        found = home_of(database).opened(home.name)
        return found.folders() if found else []
    now = check.answering(home)
    if now is None:
        return []
    upgrade(home, now)
    with closing(Catalog(home / now / "catalog.sqlite")) as catalog:
        return catalog.folders()


def _known_or_lost(home: Path) -> list[str]:
    """The same; where the catalog is damaged or lost, the folder of uploads if there are any."""
    try:
        return known_folders(home)
    except CatalogError as error:
        if isinstance(error.__cause__, OSError | sqlite3.OperationalError):  # it may be readable another time
            raise
        with no_writer(home):
            log.warning("%s; it is built anew from the folders that are given", error.message)
        uploads = home / "files"
        return [str(uploads)] if uploads.is_dir() and any(uploads.iterdir()) else []


def add_folder(cfg: Config, index: Index, folder: Path | str, *, anywhere: bool) -> str:
    """Have a knowledge base follow a folder, a bucket or a page from its next run on; returns its path or address.

    Without `anywhere`, only one that lies in a folder of `app.folders`, as the disk has them (links followed), and no
    page; of another nothing is told, not even whether it exists. Raises `AccessError` then, else as `folders_of` does,
    and `CatalogError` while somebody else writes.
    """
    if in_web(folder) and not anywhere:
        raise AccessError("only admins have pages of the web followed", "ask one to add it")
    if mirrored(folder):
        folder = named(folder)
    elif anywhere:  # of others nobody learns by `~name` which accounts there are
        folder = os.path.expanduser(folder)
    folder = str(folder)
    if not anywhere and not _allowed(cfg, folder):
        raise AccessError(
            f"{folder!r} may not be followed",
            f"an admin can add it, or name it under app.folders (by now: {', '.join(cfg.app.folders) or '-'})",
        )
    (path,) = folders_of(cfg, index.name, [folder], rebuild=False)
    with index.writing() as catalog:
        catalog.folder_id(path)
    return path


def _allowed(cfg: Config, folder: str) -> bool:
    if in_web(folder):
        return False
    if in_bucket(folder):
        buckets = (address(one) for one in cfg.app.folders if in_bucket(one))
        return any((folder + "/").startswith(one + "/") for one in buckets)
    real = Path(os.path.realpath(folder))
    return any(real.is_relative_to(os.path.realpath(Path(one).expanduser())) for one in cfg.app.folders)


def check_no_link(folder: Path) -> None:
    """Raise `ReadError` where a folder is reached through a symbolic link: who may write beside it decides where to."""
    if os.path.realpath(folder) != str(folder) and folder.exists():
        raise ReadError(
            f"folder {str(folder)!r} is reached through a symbolic link by now, which is not followed",
            "put the folder back; or remove it, and add the folder that the link leads to",
        )


def remove_folder(index: Index, folder: str) -> int:
    """Take a source, as the catalog names it, and its documents out of a knowledge base; how many they were.

    The files themselves stay where they are; what was downloaded of a bucket or a page goes. Raises
    `CatalogError` for a folder that it does not follow.
    """
    known = index.catalog.folders()
    if folder not in known:
        raise CatalogError(f"{folder!r} is no folder of {index.name!r}", f"its folders: {', '.join(known) or 'none'}")
    with index.writing() as catalog:
        with catalog.transaction() as write:
            count = write.remove_folder(catalog.folder_id(folder))
        catalog.drop_unused_embeddings()
        if mirrored(folder):
            discard(index.home, folder)
    return count


def check_upload(name: str, cfg: IngestConfig) -> str:
    """The name of an uploaded file, if it can be stored and will be read. Raises `ReadError`."""
    plain = Path(name).name
    if plain != name or plain.startswith(".") or any(ord(c) < 32 for c in plain):
        raise ReadError(f"{name!r} cannot name an uploaded file", "rename it: no folders, no leading dot")
    if not supported(plain, cfg):
        raise ReadError(f"no reader for {name!r}", "convert it to PDF, DOCX, Markdown or text")
    return plain


def emptied(index: Index, folder: str, todo: Plan) -> FileError | None:
    """Why a plan is not to be followed: the folder had many documents, and now holds none that is read."""
    some_left = todo.unchanged or todo.added or todo.changed or todo.moved
    if some_left or not _MANY <= len(todo.deleted) == index.catalog.documents_of(folder):
        return None
    return _emptied(folder, len(todo.deleted), index.name)


def check_rebuilt(index: Index) -> None:
    """Raise `ReadError` where a folder that has many documents in what answers now has none in what was built."""
    counts: dict[str, int] = {}
    with suppress(CatalogError):  # damaged: it is what the rebuild replaces
        if (before := index.before) is not None:
            with closing(before):
                counts = {folder: before.documents_of(folder) for folder in before.folders()}
    for folder, count in counts.items():
        if count >= _MANY and not index.catalog.documents_of(folder):
            error = _emptied(folder, count, index.name)
            raise ReadError(error.error, error.hint)


def _emptied(folder: str, count: int, kb: str) -> FileError:
    return FileError(
        folder,
        f"folder {folder!r} had {count} documents and now holds none; none was deleted",
        "mount it again, or set ingest.include and exclude right; if it is meant so: "
        f"`ragstone index --allow-empty --kb {kb}`, or `ragstone remove {folder} --kb {kb}`",
        folder=folder,
    )


def shower(folders: Sequence[str]) -> Callable[[str, str], str]:
    """How (folder, path) is shown: with the folder's name in front where there are several, or all of its path.

    A page of the web is shown by its address.
    """
    if len(folders) < 2:
        return lambda folder, path: folder if in_web(folder) else path
    names = {folder: Path(folder).name for folder in folders if not in_web(folder)}
    alike = len(set(names.values())) < len(names)

    def shown(folder: str, path: str) -> str:
        if not folder or in_web(folder):
            return folder or path
        return f"{folder if alike else names.get(folder, folder)}/{path}"

    return shown
