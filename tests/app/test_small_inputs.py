"""Small inputs of many kinds, each with what a person reads in it: read, indexed, and asked without a model.

The rows lie beside the evaluation data, in `cases/expected.jsonl`; without them nothing is tested here.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.api import KnowledgeBase
from core.config import Config, IngestConfig
from ingest.read import read_file
from retrieval.embed import Embedder

CASES = Path(os.environ.get("RAGSTONE_EVAL", "/nowhere")).parent / "cases"


def rows(field: str = "file") -> list[Any]:
    if not (CASES / "expected.jsonl").is_file():
        return [pytest.param({}, marks=pytest.mark.skip(reason="no folder `cases` beside RAGSTONE_EVAL"), id="none")]
    found = map(json.loads, (CASES / "expected.jsonl").read_text("utf-8").splitlines())
    return [pytest.param(row, id=row["file"]) for row in found if field in row]


def squeezed(text: str) -> str:
    return "".join(text.split())


def stands(wanted: str, text: str) -> bool:
    """Whether a text holds what is wanted, white space aside; of two forms, either."""
    return any(squeezed(form) in squeezed(text) for form in wanted.split(" or "))


@pytest.mark.parametrize("row", rows())
def test_what_a_person_reads_is_in_the_text_and_what_nobody_should_is_not(row: dict[str, Any]) -> None:
    document = read_file(CASES / "files" / row["file"], IngestConfig())
    assert [text for text in row.get("holds", ()) if not stands(text, document.text)] == []
    assert [text for text in row.get("holds_not", ()) if stands(text, document.text)] == []
    assert document.notes or document.ocr_pages or not row.get("reported")
    if other := row.get("same_text_as"):
        assert squeezed(document.text) == squeezed(read_file(CASES / "files" / other, IngestConfig()).text)


@pytest.mark.parametrize("row", rows("ask"))
def test_the_first_quote_holds_the_answer(row: dict[str, Any], cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / row["file"]).write_bytes((CASES / "files" / row["file"]).read_bytes())
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(tmp_path / "docs")
        answer = base.ask(row["ask"])
    assert stands(row["first_quote_holds"], answer.text.partition("\n")[0])


@pytest.mark.parametrize("row", rows("every_chunk_holds"))
def test_every_chunk_names_what_it_must(row: dict[str, Any], cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / row["file"]).write_bytes((CASES / "files" / row["file"]).read_bytes())
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(tmp_path / "docs")
        (document,) = base.index.catalog.documents()
        chunks = base.index.catalog.chunks_of(document.id)
    assert [hit.text for hit in chunks if not stands(row["every_chunk_holds"], f"{hit.headings} {hit.text}")] == []
