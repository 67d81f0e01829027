from dataclasses import replace
from pathlib import Path

import pytest

from app.keeping.index import chunker, write_documents
from core.config import Config
from core.types import Document, Hit, Section
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.passages import Room, widen
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


def test_in_a_small_room_every_hit_comes_before_any_neighbour(index: Index, cfg: Config) -> None:
    document = search(index, ["beta"], cfg.retrieval, k=1)[0].document_id
    hits = index.catalog.around(document, 0, 99)[1::2][:3]
    need = sum(len(hit.text) + 10 for hit in hits)
    bare = widen(index, hits, 1, room=Room(need, len, 10))
    assert [passage.text for passage in bare] == [hit.text for hit in hits]
    best_grows = widen(index, hits, 1, room=Room(need + max(map(len, _texts(index, hits[0]))) + 1, len, 10))
    assert [p.last - p.first for p in best_grows][1:] == [0, 0]
    assert best_grows[0].last - best_grows[0].first == 1


@pytest.mark.parametrize("tokens", [1, 500, 2_000, 5_000, 50_000])
def test_what_is_read_fits_the_room_but_for_a_first_hit_that_is_larger(index: Index, cfg: Config, tokens: int) -> None:
    hits = search(index, ["beta number speaks", "alpha", "gamma"], cfg.retrieval, k=6)
    passages = widen(index, hits, 2, 4_000, Room(tokens, len, 10))
    read = sum(len(passage.text) + 10 for passage in passages)
    assert passages[0].hit == hits[0]
    assert read <= tokens or [p.text for p in passages] == [hits[0].text]


def _texts(index: Index, hit: Hit) -> list[str]:
    return [c.text for c in index.catalog.around(hit.document_id, hit.ordinal - 1, hit.ordinal + 1)]
