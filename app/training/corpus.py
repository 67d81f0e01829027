"""The documents of a knowledge base as plain text to be learnt, for continued pre-training."""

from pathlib import Path

from app.training.pairs import copies
from core.config import Config
from core.errors import DatasetError
from core.text import digest
from core.types import Hit
from llm.examples import Passage
from retrieval.embed import Embedder
from retrieval.index import Index


def passages(cfg: Config, kb: str) -> list[Passage]:
    """One row a document, as the index has it. `file` is the first of near copies, so that they stay on one side.

    Raises `CatalogError` where there is no such knowledge base, `DatasetError` where it has no text.
    """
    index = Index.open(Path(cfg.app.data), kb, Embedder(cfg.retrieval), cfg.app.database)
    try:
        same = copies(index)
        found = []
        for document in index.catalog.documents():
            text = _whole(index.catalog.chunks_of(document.id))
            if text.strip():
                name = digest(f"{document.folder}\0{document.path}").hex()[:10]
                file = same.get(document.path, document.path)
                found.append(Passage(id=name, text=text, file=file, origin=f"kb:{kb}"))
    finally:
        index.close()
    if not found:
        raise DatasetError(f"knowledge base {kb!r} has no text", f"`ragstone index FOLDER --kb {kb}` first")
    return found


def _whole(chunks: list[Hit]) -> str:
    """The text of a document's chunks in order, once where they overlap."""
    text, end = "", 0
    for chunk in chunks:
        text += ("\n" if text and chunk.start > end else "") + chunk.text[max(end - chunk.start, 0) :]
        end = max(end, chunk.end)
    return text
