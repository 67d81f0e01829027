import os
import time
from pathlib import Path

import pytest

from app.keeping.index import chunker, sync
from core.config import Config
from core.errors import ConfigError
from retrieval.embed import Embedder
from retrieval.filters import Filter, Filters
from retrieval.index import Index


@pytest.fixture
def index(cfg: Config, embedder: Embedder, tmp_path: Path) -> Index:
    docs = tmp_path / "docs"
    (docs / "it").mkdir(parents=True)
    (docs / "it" / "vpn.md").write_text("---\ntags: [Network, 网络]\ndate: 2024-03-15\n---\n# VPN\n\nPort 8443.")
    (docs / "it" / "mail.txt").write_text("Mail is archived for ten years.")
    (docs / "年假.md").write_text("---\ntags: 人事\ndate: 2025-07\n---\n# 年假\n\n年假每年二十五天。")
    then = time.mktime((2023, 5, 4, 12, 0, 0, 0, 0, -1))
    os.utime(docs / "it" / "mail.txt", (then, then))
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    sync(index, docs, cfg.ingest)
    return index


@pytest.mark.parametrize(
    ("where", "files"),
    [
        (Filter(paths=("it/*",)), ["it/mail.txt", "it/vpn.md"]),
        (Filter(paths=("**/*.md",)), ["it/vpn.md", "年假.md"]),
        (Filter(paths=("it/vpn.md", "年假.md")), ["it/vpn.md", "年假.md"]),
        (Filter(types=("TXT",)), ["it/mail.txt"]),
        (Filter(types=(".md", "txt")), ["it/mail.txt", "it/vpn.md", "年假.md"]),
        (Filter(languages=("zh",)), ["年假.md"]),
        (Filter(tags=("network",)), ["it/vpn.md"]),
        (Filter(tags=("网络", "人事")), ["it/vpn.md", "年假.md"]),
        (Filter(since="2024"), ["it/vpn.md", "年假.md"]),
        (Filter(until="2024-03"), ["it/mail.txt", "it/vpn.md"]),
        (Filter(since="2023-05-04", until="2023-05-04"), ["it/mail.txt"]),
        (Filter(paths=("it/*",), tags=("人事",)), []),
    ],
)
def test_each_part_limits_to_the_documents_it_names(index: Index, where: Filter, files: list[str]) -> None:
    hits = index.catalog.hits(Filters().allowed(index.files, where).ids.tolist())
    assert sorted({hit.path for hit in hits.values()}) == files


def test_an_empty_filter_limits_nothing(index: Index) -> None:
    ids = Filters().allowed(index.files, Filter()).ids.tolist()
    assert len(ids) == index.counts().chunks
    terms = index.terms("Port 8443, mail, 年假")
    assert index.store.lexical(terms, 9, Filter()) == index.store.lexical(terms, 9) != []


@pytest.mark.parametrize("day", ["yesterday", "2024-3-1", "15.03.2024", "2024-03-15T00:00"])
def test_what_is_no_date_is_refused(day: str) -> None:
    with pytest.raises(ConfigError, match="no date"):
        Filter(since=day)
