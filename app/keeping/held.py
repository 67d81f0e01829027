"""Which passages a knowledge base still holds, of those that answers were once given from."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.sources import mirrored
from retrieval.index import Index

_REMEMBERED = 64  # documents, whose passages many answers quote


class Held:
    """The documents of a knowledge base as they are now."""

    def __init__(self, index: Index) -> None:
        self.kb, self.id = index.name, index.identity
        self._index, self._uploads = index, str((index.home / "files").resolve())
        self._documents = {(each.folder, each.path): each.id for each in index.catalog.documents()}
        self._paths = {path for _, path in self._documents}
        self._text = lru_cache(_REMEMBERED)(self._read)

    def holds(self, source: Mapping[str, Any]) -> bool:
        """Whether a passage, a `Source` as JSON has it, still stands in its document, line by line."""
        hit = source["hit"]
        document = self._documents.get((self._folder(hit["folder"]), hit["path"]))
        if document is None:
            return False
        text = self._text(document)
        lines = (_plain(line) for passage in (hit["text"], source["text"]) for line in passage.splitlines())
        return all(line in text for line in lines)

    def has(self, path: str) -> bool:
        """Whether there is a document of a path, in any of its folders."""
        return path in self._paths

    def texts(self, wanted: Callable[[str], bool]) -> Iterator[str]:
        """What the documents say whose path is wanted, white space made one."""
        return (self._text(document) for (_, path), document in self._documents.items() if wanted(path))

    def _folder(self, folder: str) -> str:
        """Where a folder is now: the data folder with the uploads may have been moved."""
        return self._uploads if not mirrored(folder) and Path(folder).parts[-2:] == (self.kb, "files") else folder

    def _read(self, document: int) -> str:
        """All that a document says, of which the chunks may overlap and only white space lies between them."""
        pieces: list[str] = []
        reached = 0
        for chunk in self._index.catalog.chunks_of(document):
            pieces.append((" " if chunk.start > reached else "") + chunk.text[max(reached - chunk.start, 0) :])
            reached = max(reached, chunk.end)
        return _plain("".join(pieces))


def _plain(text: str) -> str:
    return " ".join(text.split())
