"""What people chose for single files is what runs do; what a run left out is kept."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import closing

from core.errors import CatalogError
from core.types import Choice, FileError
from retrieval.index import Index
from retrieval.store import Catalog

log = logging.getLogger(__name__)

_MOST = 10_000  # files of a folder of which is kept that they are left out


def choices_of(index: Index, folder: str) -> Mapping[str, Choice]:
    """What holds for the files of a folder; of a generation that is built beside another, what was chosen there."""
    before = _chosen_before(index)
    return index.catalog.choices(folder) if before is None else before.get(folder, {})


def take_over(index: Index) -> None:
    """Have a generation that was built beside another keep what was chosen there."""
    before = _chosen_before(index)
    if before is None:
        return
    with index.writing() as catalog, catalog.transaction() as write:
        for folder, chosen in before.items():
            own = catalog.choices(folder)
            for path in chosen.keys() | own:
                write.choose(catalog.folder_id(folder), path, chosen.get(path, Choice()))


def _chosen_before(index: Index) -> dict[str, Mapping[str, Choice]] | None:
    """What was chosen in what answers while another generation is built, by folder; None where there is no such."""
    try:
        if not index.superseded or (answers := index.before) is None:
            return None
        with closing(answers):
            return {folder: answers.choices(folder) for folder in answers.folders()}
    except CatalogError as error:  # it is what the rebuild replaces
        log.warning("what was chosen for single files (left out, read by OCR) cannot be read: %s", error.message)
        return None


def keep_left_out(catalog: Catalog, folder: str, found: Iterable[FileError], only: Iterable[str] | None) -> None:
    """Keep what a run left out, where it is not what is kept; `only`: the paths that it looked at."""
    kept = catalog.left_out(folder)
    tops = None if only is None else tuple(f"{path}/" for path in only)
    others = [] if tops is None else [file for file in kept if not f"{file.path}/".startswith(tops)]
    now = sorted([*others, *found], key=lambda file: file.path)[:_MOST]
    if _told(now) != _told(kept):
        with catalog.transaction() as write:
            write.leave_out(catalog.folder_id(folder), now)


def _told(files: Iterable[FileError]) -> list[tuple[str, str, str]]:
    return [(file.path, file.error, file.hint) for file in files]
