"""Recipe: choose for single files that they are left out, or which of their pages are read by OCR.

It is done at once, and holds for every later run, also of a rebuild, until somebody chooses otherwise. The pages go
with a file that is moved, and all of it with the knowledge base into a backup and from one home into another.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app.keeping.index import Progress, Report, chunker, quiet, sync
from core.config import IngestConfig
from core.errors import CatalogError, ReadError
from core.types import Choice
from ingest.readers.ocr import ocr_obstacle
from retrieval.index import Index
from retrieval.listing import FileRow

_MOST_PAGES = 10_000
Named = tuple[str, str]  # folder and path


def found(index: Index, name: str) -> Named:
    """The file of a knowledge base, read or not, that somebody names by its path, with or without its folder.

    Raises `CatalogError` where there is none, or one in several folders.
    """
    folders = index.catalog.folders()
    whole = [(folder, name.removeprefix(folder.rstrip("/") + "/")) for folder in folders if folder]
    whole = [(folder, path) for folder, path in whole if path != name]
    named = whole or [(folder, name) for folder in folders]
    states = ("all", "left_out")
    rows = {(row.folder, row.path) for _, path in named for state in states for row in _files(index, state, path)}
    there = [each for each in named if each in rows]
    if len(there) == 1:
        return there[0]
    if there:
        raise CatalogError(f"{name!r} lies in {len(there)} folders", f"write it with its folder: {'/'.join(there[0])}")
    raise CatalogError(f"{index.name!r} knows no file {name!r}", "`ragstone files` lists what it knows; index it first")


def leave_out(index: Index, chosen: Iterable[Named], cfg: IngestConfig, progress: Progress = quiet) -> Report:
    """Take files out of a knowledge base, and have no run read them until they are taken in again."""
    folders = by_folder(chosen)
    index.check_writable(index.embedder, chunker(cfg))
    with index.writing() as catalog, catalog.transaction() as write:
        for folder, paths in folders.items():
            folder_id, known = catalog.folder_id(folder), catalog.choices(folder)
            for path in paths:
                write.choose(folder_id, path, replace(known.get(path, Choice()), left_out=True))
            write.read_again(folder_id, paths)
    return synced(index, folders, cfg, progress)


def take_in(index: Index, chosen: Iterable[Named], cfg: IngestConfig, progress: Progress = quiet) -> Report:
    """Read files that were left out by choice. Raises `CatalogError` for one that nobody chose to leave out."""
    folders = by_folder(chosen)
    index.check_writable(index.embedder, chunker(cfg))
    with index.writing() as catalog, catalog.transaction() as write:
        for folder, paths in folders.items():
            known, why = catalog.choices(folder), {file.path: file for file in catalog.left_out(folder)}
            for path in paths:
                if not known.get(path, Choice()).left_out:
                    told = why.get(path)
                    hint = f"{told.error}: {told.hint}" if told else "it is read as its folder is"
                    raise CatalogError(f"{path!r} was not left out by choice", hint)
                write.choose(catalog.folder_id(folder), path, replace(known[path], left_out=False))
    return synced(index, folders, cfg, progress)


def read_by_ocr(
    index: Index, file: Named, pages: Sequence[int], cfg: IngestConfig, progress: Progress = quiet
) -> Report:
    """Read these pages of a PDF (from 1) by OCR, in the place of their own text; without any, as they are again.

    Raises `CatalogError` where it has no such page or is no PDF, `ReadError` where nothing can be recognised here.
    """
    if pages and (obstacle := ocr_obstacle(cfg)):
        raise ReadError(*obstacle)
    folder, path = file
    card = next((row.card for row in _files(index, "all", path) if (row.folder, row.path) == file), None)
    if card is None:
        raise CatalogError(f"{path!r} of {folder!r} is not read", "`ragstone files` says why, and what to do")
    if not path.lower().endswith(".pdf") or not card.pages:
        raise CatalogError(f"{path!r} has no pages that OCR could read", "only pages of a PDF can be chosen")
    wanted = tuple(sorted(set(pages)))
    if wanted and not 1 <= wanted[0] <= wanted[-1] <= card.pages:
        raise CatalogError(f"{path!r} has the pages 1 to {card.pages}", "give pages that it has")
    index.check_writable(index.embedder, chunker(cfg))
    with index.writing() as catalog, catalog.transaction() as write:
        folder_id, known = catalog.folder_id(folder), catalog.choices(folder).get(path, Choice())
        write.choose(folder_id, path, replace(known, ocr_pages=wanted))
        write.read_again(folder_id, [path])
    return synced(index, {folder: [path]}, cfg, progress)


def pages_of(text: str) -> list[int]:
    """The pages that somebody wrote: "3, 5-7". Raises `ReadError`."""
    pages: list[int] = []
    plain = text.translate({ord("，"): ",", ord("、"): ",", ord("–"): "-"}).replace(" ", "")
    for piece in filter(None, plain.split(",")):
        first, dash, last = piece.partition("-")
        if len(piece) > 12 or not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ReadError(f"{text!r} are no pages", "write them like 3, 5-7")
        most = int(last or first)
        if most - int(first) >= _MOST_PAGES:
            raise ReadError(f"{text!r} are more than {_MOST_PAGES} pages", "give fewer")
        pages += range(int(first), most + 1)
    return pages


def _files(index: Index, state: str, path: str) -> list[FileRow]:
    return index.catalog.files("left_out" if state == "left_out" else "all", path, 0, -1)[0]


def by_folder(chosen: Iterable[Named]) -> dict[str, list[str]]:
    """The paths of files by their folders."""
    folders: dict[str, list[str]] = defaultdict(list)
    for folder, path in chosen:
        folders[folder].append(path)
    return folders


def synced(index: Index, folders: Mapping[str, Sequence[str]], cfg: IngestConfig, progress: Progress) -> Report:
    """Bring these files of some folders up to date."""
    report = Report(chunks=index.counts().chunks)
    for folder, paths in folders.items():
        report += sync(index, folder, cfg, progress, only=paths, allow_empty=True)
    return report
