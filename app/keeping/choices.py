"""What people chose for single files is what runs do; what a run left out is kept."""

from collections.abc import Iterable, Mapping
from contextlib import closing

from core.types import Choice, FileError
from retrieval.index import Index
from retrieval.store import Catalog

_MOST = 10_000  # files of a folder of which is kept that they are left out


def choices_of(index: Index, folder: str) -> Mapping[str, Choice]:
    """What holds for the files of a folder; of a generation that is built beside another, what was chosen there."""
    if not index.superseded or (answers := index.before) is None:
        return index.catalog.choices(folder)
    with closing(answers):
        return answers.choices(folder)


def take_over(index: Index) -> None:
    """Have a generation that was built beside another keep what was chosen there."""
    if not index.superseded or (answers := index.before) is None:
        return
    with closing(answers), index.writing() as catalog, catalog.transaction() as write:
        for folder in answers.folders():
            before, own = answers.choices(folder), catalog.choices(folder)
            for path in before.keys() | own:
                write.choose(catalog.folder_id(folder), path, before.get(path, Choice()))


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
