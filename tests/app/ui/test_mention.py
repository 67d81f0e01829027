from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.running.bases import Bases
from app.ui import mention
from core.config import Config
from core.errors import CatalogError
from retrieval.embed import Embedder
from retrieval.filters import Filters
from tests.retrieval.corpus import build


@settings(max_examples=300)
@given(st.lists(st.text("aAbİß年/.", max_size=6), max_size=12), st.text("aAbİßs年/.", max_size=3))
def test_what_is_found_in_one_text_is_what_each_name_holds(names: list[str], typed: str) -> None:
    typed, folded = typed.casefold(), "\0".join(name.casefold() for name in names)
    assert list(mention._holding(names, folded, typed)) == [name for name in names if typed in name.casefold()]


def test_offers_are_those_of_the_files_that_are_there_now(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder, {f"{n}.md": f"Text {n}." for n in range(30)} | {"Leave.md": "25 days."})

    def get(kb: str) -> Any:
        if kb != "kb":
            raise CatalogError("there is none")
        return index

    bases = cast("Bases", SimpleNamespace(get=get))
    assert mention.offers(bases, ["gone", "kb"], "leave") == ["kb/Leave.md"]
    assert mention.offers(bases, ["gone", "kb"], "KB/le") == ["kb/Leave.md"]
    assert len(mention.offers(bases, ["gone", "kb"], "")) == 20
    assert mention.offers(bases, ["kb"], "\0") == mention.offers(bases, ["kb"], "")
    build(cfg, embedder, {"leave-2.md": "30 days."}).close()
    assert mention.offers(bases, ["kb"], "leave") == ["kb/Leave.md", "kb/leave-2.md"]
    index.close()


def test_a_file_that_is_mentioned_is_looked_up_and_not_searched_for(
    cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(cfg, embedder, {f"{n}/a.md": f"Text {n}." for n in range(60)})
    asked = mention.read("#kb/17/a.md #kb/2?/a.md what?", {"kb"})
    bases = cast("Bases", SimpleNamespace(get=lambda kb: index))
    ((_, where),) = mention.scopes(bases, asked.named)
    assert where is not None
    filters = Filters()
    filters.allowed(index.files, where)
    rows: list[int] = []
    dated = index.catalog.dated

    def counted(*args: Any) -> Any:
        for row in dated(*args):
            rows.append(row[0])
            yield row

    monkeypatch.setattr(index.catalog, "dated", counted)
    build(cfg, embedder, {"new.md": "new"}).close()
    among = filters.allowed(index.files, where)
    assert {hit.path for hit in index.hits(among.ids.tolist()).values()} == {
        "17/a.md",
        *(f"2{n}/a.md" for n in range(10)),
    }
    assert len(rows) < 15  # of 61: those that begin as the patterns do
    index.close()
