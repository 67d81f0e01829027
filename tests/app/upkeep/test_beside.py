"""What lies beside the catalog is checked with it: what a search or an answer cannot use is said before one fails."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.keeping.index import run
from core.config import Config
from retrieval.embed import Embedder
from retrieval.index import Index

BAD = {
    "tuning.json": '{"dense_weight": []}',
    "dictionary.txt": "a = = b",
    "prompt.json": "{}",
    "golden.jsonl": "{}",
}


@pytest.mark.parametrize("name", BAD)
def test_verify_names_what_cannot_be_used_and_offers_no_repair_that_would_not_help(
    name: str, cfg: Config, embedder: Embedder, write: Callable[[str, str], Path]
) -> None:
    run(cfg, "kb", [write("leave.md", "# Leave\n\nAnnual leave is 25 days.").parent])
    home = Path(cfg.app.data) / "kb"
    (home / name).write_text(BAD[name], encoding="utf-8")
    environ = {"RAGSTONE_DATA": cfg.app.data, "COLUMNS": "500"}
    told = CliRunner().invoke(app, ["verify", "--kb", "kb", "--json"], env=environ)
    problems = json.loads(told.stdout)["problems"]
    assert told.exit_code == 1
    assert len(problems) == 1
    assert str(home / name) in problems[0]
    plain = CliRunner().invoke(app, ["verify", "--kb", "kb"], env=environ)
    assert plain.exit_code == 1
    assert problems[0] in plain.output
    assert "--repair" not in plain.output
    index = Index.open(home.parent, "kb", embedder)
    assert index.verify() == (problems if name in ("tuning.json", "dictionary.txt") else [])
    index.close()
