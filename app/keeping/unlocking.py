"""Recipe: read a file that opens with a password only, by the password that somebody gives."""

from app.keeping.choosing import Named, synced
from app.keeping.index import Progress, Report, chunker, quiet
from core.config import IngestConfig
from core.errors import ReadError
from retrieval.index import Index

_LONGEST = 1000  # characters


def unlock(index: Index, file: Named, password: str, cfg: IngestConfig, progress: Progress = quiet) -> Report:
    """Read a file by a password, which is not kept. Raises `ReadError` where it does not open it.

    Those of `ingest.passwords` are tried on every file; a file that was opened by another one is not read anew when it
    changes, until somebody gives it again: what it said before goes on answering.
    """
    folder, path = file
    wrong = ReadError(f"the password does not open {path!r}", "look at it again; capitals and spaces count")
    if not password or len(password) > _LONGEST or "\0" in password:
        raise wrong
    index.check_writable(index.embedder, chunker(cfg))
    with index.writing() as catalog, catalog.transaction() as write:
        write.read_again(catalog.folder_id(folder), [path])
    by_it = cfg.model_copy(update={"passwords": [password, *cfg.passwords]})
    report = synced(index, {folder: [path]}, by_it, progress)
    if any(failure.path == path and "password" in failure.error for failure in report.failed):
        raise wrong
    return report
