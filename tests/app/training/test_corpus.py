from pathlib import Path

import pytest

from app.training.adapt import Request, _read, sides
from app.training.corpus import passages
from core.config import Config
from core.errors import CatalogError
from llm.trainers import Settings
from retrieval.embed import Embedder
from tests.retrieval.corpus import DOCUMENTS, build

LONG = "".join(f"Rule {n} says that part {n} of the form is filled in by office {n % 7}. " for n in range(120))


def test_a_document_is_its_whole_text_once_and_copies_are_on_one_side(cfg: Config, embedder: Embedder) -> None:
    copy = LONG.replace("Rule 119", "Rule 120")
    build(cfg, embedder, {**DOCUMENTS, "rules.md": LONG, "z-rules.md": copy}).close()
    found = passages(cfg, "kb")
    texts = {row.file: row.text for row in found if row.text != copy.strip()}
    assert {name: texts[name] for name in DOCUMENTS} == DOCUMENTS
    assert sorted(row.text for row in found if row.file == "rules.md") == sorted([LONG.strip(), copy.strip()])
    assert len({row.id for row in found}) == len(found) == len(DOCUMENTS) + 2


def test_a_knowledge_base_is_split_by_file_and_known_by_what_it_says(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    index.close()
    request = Request("m", "base", "kb", Settings(stage="pretrain"), dev=0.4)
    inputs, parts = _read(cfg, request)
    train, dev = sides(request, parts)
    assert (len(train), len(dev)) == (3, 2)
    assert _read(cfg, request)[0] == inputs
    build(cfg, embedder, {"more.md": "Parking is free."}).close()
    assert _read(cfg, request)[0] != inputs
    with pytest.raises(CatalogError):
        passages(cfg, "absent")
    file = Path(cfg.app.data) / "texts.jsonl"
    file.write_text('{"id": "1", "text": "Parking is free."}\n')
    inputs, ((row,),) = _read(cfg, Request("m", "base", str(file), Settings(stage="pretrain")))
    assert (row.id, list(inputs)) == ("1", ["texts.jsonl"])
