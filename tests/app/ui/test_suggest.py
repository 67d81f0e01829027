"""What an empty conversation suggests."""

from pathlib import Path

from app.keeping.index import chunker, sync
from app.running.bases import Bases
from app.ui.suggest import suggestions
from core.config import Config
from retrieval.embed import Embedder
from retrieval.index import Index

LONG = "One more sentence that fills the section so that it becomes a chunk of its own. " * 20
CHINESE = "年假每年二十五天，病假超过三天需要证明。" * 60


def bases(cfg: Config, embedder: Embedder, folder: Path, documents: dict[str, str]) -> Bases:
    for title, section in documents.items():
        text = CHINESE if "年" in section else LONG
        (folder / f"{title}.md").write_text(f"# {title}\n\n{text}\n\n## {section}\n\n{text}", "utf-8")
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    sync(index, folder, cfg.ingest)
    index.close()
    return Bases(cfg)


def test_questions_are_made_of_headings_those_in_the_page_language_first(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    made = bases(cfg, embedder, tmp_path, {"Travel": "3.1 Hotels", "休假制度": "二、年假"})
    english, chinese = "What does “Travel” say about “Hotels”?", "《休假制度》里关于“年假”是怎么说的？"
    assert suggestions(made, ["kb"], "en") == [english, chinese]
    assert suggestions(made, ["kb"], "zh") == [chinese, english]
    assert suggestions(made, ["gone"], "en") == []


def test_a_document_is_suggested_once_and_what_is_no_heading_to_ask_for_not_at_all(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    sections = {"Sick": f"Notes\n\n{LONG}\n\n## Certificates", "Long": "x" * 200, "Number": "1.2", "Same": "Same"}
    assert suggestions(bases(cfg, embedder, tmp_path, sections), ["kb"], "en") == [
        "What does “Sick” say about “Notes”?"
    ]
