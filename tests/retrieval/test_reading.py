"""What a catalog says of the chunks that it read."""

from pathlib import Path

from app.keeping.index import chunker, sync
from core.config import Config
from retrieval.embed import Embedder
from retrieval.index import Index

LONG = "One more sentence that fills the section so that it becomes a chunk of its own. " * 20


def test_the_innermost_heading_of_each_later_chunk_and_none_of_what_has_none(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    chinese = "年假每年二十五天，病假超过三天需要证明。" * 60
    (tmp_path / "travel.md").write_text(f"# Travel\n\n{LONG}\n\n## Hotels\n\n{LONG}", "utf-8")
    (tmp_path / "leave.md").write_text(f"# 休假\n\n{chinese}\n\n## 年假\n\n{chinese}", "utf-8")
    (tmp_path / "bare.txt").write_text(LONG * 5, "utf-8")
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    sync(index, tmp_path, cfg.ingest)
    found = index.catalog.headings(60, 12)
    assert {one.title for one in found} == {"Travel", "休假"}
    assert {(one.title, one.heading, one.language) for one in found} >= {
        ("Travel", "Hotels", "en"), ("休假", "年假", "zh"),
    }  # fmt: skip
    order = [one.document_id for one in found]
    assert order == sorted(order, reverse=True)
