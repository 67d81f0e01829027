from dataclasses import replace
from pathlib import Path

import pytest

from app.index import chunker, write_documents
from core.config import Config
from core.types import Document, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.passages import widen
from retrieval.search import search


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    """One document of three sections, of which the second is cut into several chunks."""
    parts = [
        ("One", "Alpha speaks. " * 60),
        ("Two", "".join(f"Beta number {i} speaks at length today. " for i in range(90))),
    ]
    parts.append(("Three", "Gamma speaks. " * 60))
    text, sections = "", []
    for name, body in parts:
        sections.append(Section(len(text), len(text) + len(body), (name,)))
        text += body
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    write_documents(index, [("a.md", Document(text, "A", tuple(sections)))], cfg.ingest)
    return index


def test_a_hit_grows_to_its_section_within_the_budget(index: Index, cfg: Config) -> None:
    hit = search(index, ["beta number 45"], cfg.retrieval, k=1)[0]
    section = [chunk for chunk in index.catalog.around(hit.document_id, 0, 99) if chunk.headings == ("Two",)]
    assert len(section) > 3
    alone = widen(index, [hit], 0)[0]
    assert (alone.first, alone.last) == (hit.ordinal, hit.ordinal)
    some = widen(index, [hit], 0, hit.tokens + section[1].tokens + 4)[0]
    assert some.last - some.first == 1
    whole = widen(index, [hit], 0, 10_000)[0]
    assert (whole.first, whole.last) == (section[0].ordinal, section[-1].ordinal)


def test_a_chunk_that_is_gone_since_the_search_is_left_out(index: Index, cfg: Config) -> None:
    hit = search(index, ["beta"], cfg.retrieval, k=1)[0]
    assert widen(index, [replace(hit, document_id=999)], 1, 500) == []
