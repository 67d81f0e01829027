"""Recipe: follow the folders of a knowledge base as they change, until stopped.

Of folders, events say where to look; what is there is then compared as in any run, so that an event too many costs
nothing. Events too few (a full queue, a network drive) are made good by comparing whole folders now and then, and
so are the changes of a bucket, which tells of none. Pages of the web are asked for when they are due.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.keeping.folders import asking
from app.keeping.index import Report, sync
from core.config import Config, IngestConfig
from core.errors import CatalogError, ReadError
from core.sources import mirrored
from core.types import FileError
from ingest.pages import Asking
from retrieval.index import Index

log = logging.getLogger(__name__)

_QUIET_MS = 400  # after the last event of a burst
_BURST_MS = 5_000  # the longest that a burst is gathered
_TICK_MS = 1_000
_WRITTEN_S = 1.0  # a file younger than this may still be being written
_LONGEST_WAIT_S = 30.0  # for a file that never rests, such as a log
_FIRST_WAIT_S, _LONGEST_PAUSE_S = 1.0, 60.0  # after an error, before all is looked at once more
_MANY = 1_000  # paths: from here on the whole folder is compared


@dataclass(slots=True)
class _Pending:
    """What is to be looked at in one folder, and since when."""

    paths: dict[str, float] = field(default_factory=dict)
    whole: bool = False


def follow(
    index: Index, cfg: IngestConfig, stop: threading.Event | None = None, in_step: Callable[[], None] = lambda: None,
    pages: Callable[[], Asking | None] = lambda: None,
) -> Iterator[Report]:  # fmt: skip
    """Keep all folders of a knowledge base up to date; a report whenever something was done or failed.

    `in_step` is called each time that all folders have been compared, also where nothing was to be done. `pages` says
    each time whether pages of the web are asked for. Ends when `stop` is set. A folder that is away, or a knowledge
    base that another process writes, is tried again; folders that are added meanwhile are followed too, and so is the
    generation that a rebuild put in the place of this. Raises `ReadError` where the system allows no more watches.
    """
    from watchfiles import watch

    away: set[str] = set()  # folders that were told to be
    compared = time.monotonic()
    while stop is None or not stop.is_set():
        if index.superseded:
            index = index.anew()
        there = _folders(index)
        pending = {folder: _Pending(whole=True) for folder in there}  # nothing told what happened between two watches
        events = watch(
            *(Path(folder) for folder, inode in there.items() if inode > 0), watch_filter=None, debounce=_BURST_MS,
            step=_QUIET_MS, rust_timeout=_TICK_MS, yield_on_timeout=True, stop_event=stop, raise_interrupt=True,
            ignore_permission_denied=True,
        )  # fmt: skip
        for changes in _told(events):
            _note(pending, (Path(path) for _, path in changes), index.home.parent.resolve())
            if time.monotonic() - compared > cfg.rescan_minutes * 60:
                compared = time.monotonic()
                for waiting in pending.values():
                    waiting.whole = True
            for folder, waiting in pending.items():
                if not mirrored(folder) and not Path(folder).is_dir():
                    there[folder] = 0  # nobody watches what will be there next
                report = _catch_up(index, folder, waiting, cfg, pages())
                if report is None or report.empty:
                    continue
                told = folder in away
                (away.add if _is_away(folder, report) else away.discard)(folder)
                if not (told and folder in away):
                    yield report
            if not any(waiting.whole for waiting in pending.values()):
                in_step()
            if index.superseded or _folders(index) != there:
                break


def keep_following(
    opened: Callable[[], Index], cfg: Callable[[], Config], tell: Callable[[Report | Exception], None],
    stop: threading.Event,
) -> None:  # fmt: skip
    """Follow until `stop` is set, whatever fails on the way: `tell` is given each report, and each error.

    `opened` gives the knowledge base, which may not be there yet; `cfg` the settings, which may change meanwhile. After
    an error, of the embedder for instance, all folders are compared anew, a second later at first and a minute later at
    last, so that nothing is missed; once they are in step again, an empty report says so where nothing had to be done.
    """
    wait_s, failing = _FIRST_WAIT_S, False

    def in_step() -> None:
        nonlocal wait_s, failing
        if failing:
            tell(Report())
        wait_s, failing = _FIRST_WAIT_S, False

    while not stop.is_set():
        try:
            for report in follow(opened(), cfg().ingest, stop, in_step, lambda: asking(cfg(), whole_run=False)):
                failing = False
                tell(report)
        except Exception as error:  # nobody is above a thread that is meant to run for months
            failing = True
            tell(error)
            stop.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_PAUSE_S)


def _told(events: Iterator[set[tuple[Any, str]]]) -> Iterator[set[tuple[Any, str]]]:
    try:
        yield from events
    except OSError as error:
        raise ReadError(
            f"the folders cannot be watched: {error}",
            "raise fs.inotify.max_user_watches and max_user_instances (sysctl), or run `ragstone index` now and then",
        ) from error


def _folders(index: Index) -> dict[str, int]:
    """The sources of a knowledge base with the inodes of folders; 0 where one is away, -1 for a bucket or a page."""
    return {source: -1 if mirrored(source) else _inode(Path(source)) for source in index.catalog.folders()}


def _inode(folder: Path) -> int:
    return folder.stat().st_ino if folder.is_dir() else 0


def _is_away(source: str, report: Report) -> bool:
    if mirrored(source):
        return any(error.path == source for error in report.failed)
    return not Path(source).is_dir()


def _note(pending: dict[str, _Pending], paths: Iterable[Path], data: Path) -> None:
    """Remember where to look. The data folder, which every run writes to, is looked at for uploads only."""
    now = time.monotonic()
    for path in paths:
        for source, waiting in pending.items():
            folder = Path(source)
            if mirrored(source) or (path.is_relative_to(data) and not folder.is_relative_to(data)):
                continue
            if path == folder:
                waiting.whole = True
            elif path.is_relative_to(folder):
                waiting.paths.setdefault(path.relative_to(folder).as_posix(), now)
    for waiting in pending.values():
        waiting.whole = waiting.whole or len(waiting.paths) > _MANY


def _catch_up(index: Index, folder: str, waiting: _Pending, cfg: IngestConfig, pages: Asking | None) -> Report | None:
    """Look at what is ready; what is not, and what cannot be done now, goes on waiting."""
    ready = (
        list(waiting.paths)
        if waiting.whole
        else [p for p, since in waiting.paths.items() if _rests(Path(folder) / p, since)]
    )
    if not ready and not waiting.whole:
        return None
    try:
        report = sync(index, folder, cfg, only=None if waiting.whole else ready, pages=pages)
    except ReadError as error:
        waiting.paths.clear()
        waiting.whole = False
        failure = FileError(folder, error.message, error.hint, folder=folder)
        return Report(failed=[failure], chunks=index.counts().chunks)
    except CatalogError as error:
        log.warning("%s", error)
        return None
    waiting.whole = False
    for path in ready:
        waiting.paths.pop(path, None)
    return report


def _rests(path: Path, since: float) -> bool:
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:
        return True  # it is gone
    return not 0 <= age < _WRITTEN_S or time.monotonic() - since > _LONGEST_WAIT_S
