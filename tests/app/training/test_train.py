import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.commands.finetune import finetune
from app.keeping.index import run as index_run
from app.measuring import golden
from app.measuring.evaluate import Judged, Question, golden_testset
from app.training import gain
from app.training import train as recipe
from app.training.pairs import Example, opened, split
from app.training.train import Request, answers, run
from core.config import Config, load
from core.errors import CatalogError, ConfigError, EvalError, ModelError
from core.types import Hit
from llm import registry
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.negatives import copy_of
from retrieval.rerank import Reranker
from retrieval.train import Row, TrainSettings
from tests.app.tiny_embedder import WORDS
from tests.app.tiny_embedder import build as build_embedder
from tests.needs import needs
from tests.retrieval.corpus import build as build_index
from tests.retrieval.sql import select
from tests.retrieval.test_rerank import build as build_reranker

pytestmark = pytest.mark.slow

needs("datasets", "accelerate")

ASKED, SAID = WORDS[:30], WORDS[30:60]  # the word at one place means the same as that at the other
FAST = TrainSettings(epochs=6.0, batch_size=8, learning_rate=0.3, patience=99, seed=1)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A knowledge base whose questions use other words than its passages: only training can bring them together."""
    home = tmp_path_factory.mktemp("kb")
    build_embedder(home / "embedder")
    flags = {
        "app.data": str(home / "data"), "retrieval.embedder": str(home / "embedder"), "retrieval.device": "cpu",
        "retrieval.precision": "float32", "llm.backend": "extractive",
    }  # fmt: skip
    cfg = load(flags=flags, environ={}).config
    rng = np.random.default_rng(2)
    documents, asked = {}, []
    for n in range(50):
        words = rng.choice(30, 6, replace=False)
        said = " ".join(SAID[i] for i in words) + "."
        documents[f"{n:02}.md"] = said
        for some in (words[:3], words[3:]):
            question = " ".join(ASKED[i] for i in some) + "?"
            asked.append(golden.made(question, [said], f"{n:02}.md", "person", status="approved"))
    build_index(cfg, Embedder(cfg.retrieval), documents).close()
    golden.append(golden.golden_file(Path(cfg.app.data), "kb"), asked)
    return cfg


@pytest.fixture(scope="module")
def report(cfg: Config) -> dict[str, Any]:
    """A finished run."""
    return run(cfg, Request("embedder", "kb", "whole", FAST))


def home_of(cfg: Config, name: str) -> Path:
    return Path(cfg.app.data) / "models" / name


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """The metrics without the times."""
    return {
        mode: {side: {k: v for k, v in found[side].items() if not k.endswith("_ms")} for side in ("before", "after")}
        for mode, found in report["metrics"].items()
    }


def test_training_raises_the_ranking_of_files_it_never_saw(report: dict[str, Any]) -> None:
    dense = report["metrics"]["dense"]
    assert dense["after"]["ndcg@10"] > dense["before"]["ndcg@10"] + 0.2
    assert report["gain"]["low"] > 0
    assert recipe.verdict(report).startswith(f"gain of {report['gain']['mean']:+.4f} [")
    assert report["split"]["questions"]["test"] == 20  # two of each of ten files
    assert len(report["split"]["held_out"]) == 10


def test_the_model_answers_as_the_configured_embedder(cfg: Config, report: dict[str, Any]) -> None:
    trained = Embedder(cfg.retrieval.model_copy(update={"embedder": report["model"]}))
    alike = [float(trained.embed_query(ASKED[i]) @ trained.embed_passages([SAID[i]])[0]) for i in range(30)]
    unlike = [float(trained.embed_query(ASKED[i]) @ trained.embed_passages([SAID[i - 1]])[0]) for i in range(30)]
    assert np.mean(alike) > np.mean(unlike) + 0.3


def test_the_record_says_what_went_in_and_what_came_out(cfg: Config, report: dict[str, Any]) -> None:
    home = home_of(cfg, "whole")
    assert json.loads((home / "run.json").read_text("utf-8")) | {"skipped": False} == report
    assert report["model"] == str(home.resolve())
    assert set(report["inputs"]) == {"documents", "golden.jsonl"}
    assert report["seed"] == 1
    assert report["base"]["name"] == cfg.retrieval.embedder
    assert report["pairs"]["train"] + report["pairs"]["dev"] == 80
    assert {"torch", "sentence-transformers"} <= report["versions"].keys()
    names = {file.name for file in home.iterdir()}
    assert {"modules.json", "run.json", "loss.jsonl"} <= names
    assert not {"checkpoints", "request.json", "README.md"} & names
    assert not home_of(cfg, "whole.partial").exists()


def test_a_second_run_of_the_same_is_not_done_again(
    cfg: Config, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "train_embedder", None)
    again = run(cfg, Request("embedder", "kb", "whole", FAST))
    assert again == report | {"skipped": True}
    with pytest.raises(ConfigError, match="other inputs or settings"):
        run(cfg, Request("embedder", "kb", "whole", FAST, held_out=0.3))


class Stopped(Exception):
    """In place of a kill."""


@pytest.mark.parametrize(("stage", "at"), [("train", 30), ("embed", 1)])
def test_a_run_that_was_stopped_goes_on_to_the_same_model_and_figures(
    cfg: Config, report: dict[str, Any], stage: str, at: int
) -> None:
    def stop(now: str, done: int, total: int) -> None:
        if now == stage and done >= at:
            raise Stopped

    name = f"stopped-{stage}"
    request = Request("embedder", "kb", name, FAST)
    with pytest.raises(Stopped):
        run(cfg, request, progress=stop)
    assert not home_of(cfg, name).exists()
    with pytest.raises(ConfigError, match="begun with other inputs or settings"):
        run(cfg, Request("embedder", "kb", name, FAST, margin=0.2), resume=True)
    steps: list[int] = []
    again = run(cfg, request, resume=True, progress=lambda now, done, _: steps.append(done) if now == "train" else None)
    assert steps[0] > 1 if stage == "train" else not steps
    assert figures(again) == figures(report)
    for part in ("model.safetensors", "0_StaticEmbedding/model.safetensors"):
        one, other = (home_of(cfg, run_name) / part for run_name in (name, "whole"))
        assert one.exists() == other.exists()
        assert not one.exists() or one.read_bytes() == other.read_bytes()


def test_without_resume_a_stopped_run_begins_anew(cfg: Config, tmp_path: Path) -> None:
    partial = home_of(cfg, "anew.partial")
    partial.mkdir(parents=True)
    (partial / "request.json").write_text('{"key": "of another"}')
    (partial / "left-over").touch()
    done = run(cfg, Request("embedder", "kb", "anew", TrainSettings(max_steps=1)))
    assert done["training"]["steps"] == 1
    assert not (home_of(cfg, "anew") / "left-over").exists()


def test_a_model_that_was_not_changed_gains_exactly_nothing(cfg: Config) -> None:
    index = Index.open(Path(cfg.app.data), "kb", Embedder(cfg.retrieval))
    testset = golden_testset(index, golden.read(golden.golden_file(Path(cfg.app.data), "kb")))
    found = gain.of_embedder(cfg, index, testset, Path(cfg.retrieval.embedder), lambda *_: None)
    index.close()
    assert (found["gain"]["mean"], found["gain"]["low"], found["gain"]["high"]) == (0, 0, 0)
    assert found["metrics"]["dense"]["difference"]["ndcg@10"]["equal"] == 100
    assert "no gain: not promoted" in recipe.verdict(found | {"split": {"questions": {"test": 100}}})


def test_no_row_holds_a_held_out_passage_or_question_and_no_negative_answers(
    cfg: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Row]] = []

    def keep(_cfg: Config, _request: Request, train: list[Row], dev: list[Row], *_: object) -> None:
        seen.extend([train, dev])
        raise Stopped

    monkeypatch.setattr(recipe, "_train", keep)
    request = Request("embedder", "kb", "rows", FAST, negatives=3)
    with pytest.raises(Stopped):
        run(cfg, request)
    with opened(cfg, "kb", None, lambda *_: None) as material:
        parts = split(material.examples, {}, request.held_out, request.dev, FAST.seed)
        texts = [text for (text,) in select(material.index.catalog, "SELECT text FROM chunks")]
        sql = "SELECT d.path FROM chunks c JOIN documents d ON d.id = c.document_id ORDER BY c.id"
        paths = [path for (path,) in select(material.index.catalog, sql)]
    forbidden = {text for text, path in zip(texts, paths, strict=True) if path in parts.held_out}
    assert len(forbidden) == 10
    rows = [row for side in seen for row in side]
    assert len(rows) > 70
    assert all(len(row.negatives) == 3 for row in rows)
    for row in rows:
        said = (row.positive, *row.negatives)
        assert not any(text in passage for text in forbidden for passage in said)
        assert row.question not in {example.question for example in parts.test}
        assert not any(copy_of(row.positive.split("\n")[-1], negative.split("\n")[-1]) for negative in row.negatives)


def test_a_passage_that_says_the_evidence_is_no_negative() -> None:
    hit = Hit(0, 0.0, 7, "", "a.md", "", None, (), 0, 1, "x", "en", 0, 1)
    example = Example("q", (frozenset({7}), frozenset({9})), frozenset({"a.md"}), "golden")
    assert answers(example, hit)
    assert not answers(Example("q", (frozenset({8}),), frozenset({"a.md"}), "golden"), hit)
    finds = Question("q", "q", "a.md", lambda hits, k: Judged((1.0,) * 5, 1))
    assert answers(Example("q", (frozenset({8}),), frozenset({"a.md"}), "golden", finds), hit)


def test_questions_come_from_a_file_with_passages(cfg: Config, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    lines = []
    for _ in range(30):
        words = rng.choice(30, 6, replace=False)
        row = {"question": " ".join(ASKED[i] for i in words[:3]), "passage": " ".join(SAID[i] for i in words)}
        lines.append(json.dumps(row))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    done = run(cfg, Request("embedder", "none", "of-pairs", FAST, tmp_path / "pairs.jsonl"))
    assert done["split"]["questions"]["test"] == 6
    assert done["pairs"]["train"] + done["pairs"]["dev"] == 24
    assert set(done["inputs"]) == {"pairs.jsonl"}


def test_questions_come_from_a_file_with_evidence(cfg: Config, tmp_path: Path) -> None:
    asked = golden.read(golden.golden_file(Path(cfg.app.data), "kb"))[:40]
    rows = [{"question": q.question, "file": q.file, "evidence": q.evidence} for q in asked]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with opened(cfg, "kb", tmp_path / "asked.jsonl", lambda *_: None) as material:
        assert [(e.question, e.files) for e in material.examples] == [(q.question, {q.file}) for q in asked]
        assert all(e.asked for e in material.examples)


def test_what_cannot_be_trained_is_one_message(cfg: Config, tmp_path: Path) -> None:
    build_index(cfg, Embedder(cfg.retrieval), {"a.md": " ".join(SAID[:4])}, "bare").close()
    with pytest.raises(EvalError, match="no pair") as error:
        run(cfg, Request("embedder", "bare", "m", FAST))
    assert "--drafted" in error.value.hint
    row = {"question": "how long is sick leave", "passage": "Sick leave lasts four days."}
    (tmp_path / "few.jsonl").write_text(json.dumps(row))
    with pytest.raises(EvalError, match="no file can be held out"):
        run(cfg, Request("embedder", "bare", "m", FAST, tmp_path / "few.jsonl"))
    other = {"question": "how long is study leave", "passage": "Study leave lasts six days."}
    (tmp_path / "few.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(other))
    with pytest.raises(EvalError, match=r"only \d pairs to train on"):
        run(cfg, Request("embedder", "bare", "m", FAST, tmp_path / "few.jsonl"))
    with pytest.raises(CatalogError, match="there is no knowledge base 'absent'"):
        run(cfg, Request("embedder", "absent", "m", FAST))
    with pytest.raises(ConfigError, match="cannot name a model"):
        run(cfg, Request("embedder", "kb", "../m", FAST))
    with pytest.raises(ConfigError, match="no reranker is configured"):
        run(cfg, Request("reranker", "bare", "m", FAST))
    with pytest.raises(ModelError, match="does not exist"):
        run(cfg, Request("reranker", "bare", "m", FAST, base=str(tmp_path / "absent")))
    assert not list((Path(cfg.app.data) / "models").glob("m"))


def test_an_empty_knowledge_base_is_named(tmp_path: Path) -> None:
    cfg = load(flags={"app.data": str(tmp_path), "retrieval.precision": "float32"}, environ={}).config
    build_index(cfg, Embedder(cfg.retrieval), {}).close()
    with pytest.raises(EvalError, match="has no documents"):
        run(cfg, Request("embedder", "kb", "m", FAST))


def test_a_run_of_a_name_that_is_at_work_is_refused(cfg: Config) -> None:
    with (
        registry.alone(home_of(cfg, "busy").resolve()),
        pytest.raises(ConfigError, match="being trained by another process"),
    ):
        run(cfg, Request("embedder", "kb", "busy", FAST))


def test_a_reranker_is_measured_over_the_same_candidates(cfg: Config, tmp_path: Path) -> None:
    base = build_reranker(tmp_path / "base")
    settings_ = TrainSettings(max_steps=2, batch_size=16, learning_rate=1e-4)
    done = run(cfg, Request("reranker", "kb", "ranker", settings_, base=str(base), negatives=2))
    assert set(done["metrics"]) == {"hybrid", "base"}
    hybrid, after = done["metrics"]["hybrid"]["before"], done["metrics"]["hybrid"]["after"]
    assert hybrid["recall@100"] == after["recall@100"]  # no candidate more or less
    assert done["metrics"]["base"]["before"]["ndcg@10"] != hybrid["ndcg@10"]
    better = max(("hybrid", "base"), key=lambda name: done["metrics"][name]["before"]["ndcg@10"])
    assert done["gain"]["metric"] == f"nDCG@10 over {better}"
    scores = Reranker(cfg.retrieval.model_copy(update={"reranker": done["model"]})).score("bakan", ["bakan", "dusit"])
    assert scores[0] != scores[1]


def test_only_a_sure_gain_is_promoted(cfg: Config, report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(" ".join(SAID[:8]))
    index_run(cfg, "followed", [tmp_path / "docs"])
    assert not recipe.promote(cfg, "followed", report | {"gain": report["gain"] | {"low": 0.0}})
    assert _answers_by(cfg, "followed") == cfg.retrieval.embedder
    assert recipe.promote(cfg, "followed", report)
    assert _answers_by(cfg, "followed") == report["model"]


def _answers_by(cfg: Config, kb: str) -> str:
    index = Index.open(Path(cfg.app.data), kb, Embedder(cfg.retrieval))
    index.close()
    return index.embedder.name


def test_the_command_says_what_to_do_next(cfg: Config, report: dict[str, Any]) -> None:
    settings_ = load(flags={"app.data": cfg.app.data}, environ={})
    object.__setattr__(settings_, "config", cfg)
    words = ["embedder", "--kb", "kb", "--name", "whole", "--epochs", "6", "--batch", "8", "--lr", "0.3"]
    done = CliRunner().invoke(finetune, [*words, "--patience", "99", "--seed", "1"], obj=settings_)
    assert done.exit_code == 0, done.output
    assert "nothing was done" in done.output
    assert f'embedder = "{report["model"]}"' in done.output
    assert "ragstone index --kb kb --rebuild" in done.output
