"""Recipe: correct what was read wrongly of a file, or go back to what is read.

Corrections are kept beside the file, which itself is never changed. They are made again whenever it is read, and go
wherever the knowledge base goes; one that no longer fits is told in the notes of the file, and kept.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.keeping.choosing import Named, synced
from app.keeping.index import Progress, Report, chunker, quiet
from core.config import IngestConfig
from core.errors import CatalogError
from core.text import well_formed
from core.types import Choice, Correction
from ingest.correct import correction
from retrieval.index import Index

Change = Callable[[tuple[Correction, ...]], tuple[Correction, ...]]

_MOST = 500  # corrections of a file
_LONGEST = 100_000  # characters of a passage


def correct(index: Index, chunk_id: int, text: str, cfg: IngestConfig, progress: Progress = quiet) -> Report:
    """Have a passage say `text` instead. Raises `CatalogError` where it is gone, or cannot be told from another."""
    hit = index.hits([chunk_id]).get(chunk_id) if 0 < chunk_id < 2**63 else None
    if hit is None:
        raise CatalogError(f"{index.name!r} holds no passage {chunk_id}", "its file changed or left: look at it again")
    text = well_formed(text.replace("\r\n", "\n"))
    if not text.strip() or len(text) > _LONGEST:
        raise CatalogError("a passage cannot be corrected to this", "leave the file out, or write what stands there")
    made = correction(hit.text, text)
    if made is None:
        raise CatalogError("nothing was changed in the passage", "write what stands on the page, then save it")
    sought = re.compile(re.escape(made.before + made.was))
    chunks = index.catalog.chunks_of(hit.document_id)
    if len({chunk.start + found.start() for chunk in chunks for found in sought.finditer(chunk.text)}) != 1:
        hint = "correct the file itself, and read it again"
        raise CatalogError("what was changed stands in the document several times, with the same around it", hint)
    return _kept(index, (hit.folder, hit.path), lambda kept: (*kept, made), cfg, progress)


def take_back(
    index: Index, file: Named, number: int | None, cfg: IngestConfig, progress: Progress = quiet
) -> Report:  # fmt: skip
    """Read a file without one of its corrections (from 1), or without any. Raises `CatalogError` for none such."""
    kept = corrections_of(index, file)
    if not kept or (number is not None and not 1 <= number <= len(kept)):
        raise CatalogError(f"{file[1]!r} has {len(kept)} corrections", "its card in the page lists them")
    return _kept(
        index, file, lambda now: () if number is None else (*now[: number - 1], *now[number:]), cfg, progress
    )  # fmt: skip


def corrections_of(index: Index, file: Named) -> Sequence[Correction]:
    """What is corrected of a file, in order."""
    return index.catalog.choices(file[0]).get(file[1], Choice()).corrections


def _kept(index: Index, file: Named, change: Change, cfg: IngestConfig, progress: Progress) -> Report:
    folder, path = file
    index.check_writable(index.embedder, chunker(cfg))
    with index.writing() as catalog, catalog.transaction() as write:
        folder_id, known = catalog.folder_id(folder), catalog.choices(folder).get(path, Choice())
        corrections = change(known.corrections)
        if len(corrections) > _MOST:
            raise CatalogError(
                f"{path!r} has {_MOST} corrections already", "correct the file itself, and read it again"
            )
        write.choose(folder_id, path, replace(known, corrections=corrections))
        write.read_again(folder_id, [path])
    return synced(index, {folder: [path]}, cfg, progress)
