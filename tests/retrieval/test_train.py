import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config import Config, RetrievalConfig
from core.errors import ModelError
from core.types import Hit
from retrieval import train
from retrieval.embed import Embedder
from retrieval.negatives import copy_of, mine
from retrieval.rerank import Reranker
from retrieval.train import Row, TrainSettings, train_embedder, train_reranker
from tests.app.tiny_embedder import WORDS
from tests.app.tiny_embedder import build as build_embedder
from tests.conftest import ROOT
from tests.needs import needs
from tests.retrieval.corpus import build as build_index
from tests.retrieval.sql import select
from tests.retrieval.test_rerank import build as build_reranker

pytestmark = pytest.mark.slow

needs("datasets", "accelerate")

ASKED, SAID = WORDS[:30], WORDS[30:60]  # the word at one place means the same as that at the other
SETTINGS = TrainSettings(epochs=4, batch_size=8, learning_rate=0.3, patience=99, seed=3)


def synonyms(count: int, seed: int) -> list[Row]:
    """Questions in other words than the passages use, so that only training can bring them together."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words, others = rng.choice(30, 4, replace=False), rng.choice(30, 4, replace=False)
        texts = [" ".join(SAID[i] for i in chosen) for chosen in (words, others)]
        rows.append(Row(" ".join(ASKED[i] for i in words[:3]), texts[0], (texts[1],)))
    return rows


def retrieval(folder: Path) -> RetrievalConfig:
    return RetrievalConfig(embedder=str(folder), device="cpu", precision="float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RetrievalConfig:
    folder = tmp_path_factory.mktemp("embedder") / "model"
    build_embedder(folder)
    return retrieval(folder)


@pytest.fixture(scope="module")
def whole(base: RetrievalConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    train_embedder(base, synonyms(60, 1), synonyms(20, 2), folder, SETTINGS, train_quietly)
    return folder


def train_quietly(stage: str, done: int, total: int) -> None:
    """Shows nothing."""


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return {
        f"{file.relative_to(folder)}:{name}": value
        for file in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def share_first(embedder: Embedder, rows: Sequence[Row]) -> float:
    """How often the right passage is the nearest of all."""
    passages = embedder.embed_passages([row.positive for row in rows])
    nearest_ = [int((passages @ embedder.embed_query(row.question)).argmax()) for row in rows]
    return float(np.mean([i == at for at, i in enumerate(nearest_)]))


def test_training_brings_words_together_that_it_was_shown(base: RetrievalConfig, whole: Path) -> None:
    unseen = synonyms(40, 9)
    before, after = share_first(Embedder(base), unseen), share_first(Embedder(retrieval(whole)), unseen)
    assert before < 0.2
    assert after > 0.7


def test_the_loss_curve_and_no_text_is_kept(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / train.LOSSES).read_text("utf-8").splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert [row["step"] for row in rows if "eval_loss" in row] == [*range(3, 33, 3), 32]
    texts = [row.positive.encode() for row in synonyms(60, 1)]
    held = b"".join(file.read_bytes() for file in whole.rglob("*") if file.is_file())
    assert not any(text in held for text in texts)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from core.config import RetrievalConfig
from retrieval.train import Row, TrainSettings, train_embedder
told = json.load(sys.stdin)
def stop(stage, done, total):
    if done == told["step"]:
        os.kill(os.getpid(), signal.SIGKILL)
rows, dev = ([Row(q, p, tuple(n)) for q, p, n in part] for part in told["rows"])
train_embedder(RetrievalConfig(**told["cfg"]), rows, dev, Path(told["folder"]), TrainSettings(**told["settings"]), stop)
"""


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    base: RetrievalConfig, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    sides = [[[r.question, r.positive, list(r.negatives)] for r in rows] for rows in (synonyms(60, 1), synonyms(20, 2))]
    told = {
        "cfg": base.model_dump(), "rows": sides, "folder": str(folder), "settings": asdict(SETTINGS), "step": 20,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", KILLED], input=json.dumps(told), text=True, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / "modules.json").exists()
    newest = max((folder / "checkpoints").glob("checkpoint-*"), key=lambda file: file.stat().st_mtime)
    assert newest.name == "checkpoint-18"
    (newest / "whole").unlink()  # as if it had been killed while this one was written
    (newest / "optimizer.pt").write_bytes(b"half of it")
    last = max(int(mark.parent.name.split("-")[1]) for mark in (folder / "checkpoints").glob("*/whole"))
    assert last < 18
    steps: list[int] = []
    again = train_embedder(
        base, synonyms(60, 1), synonyms(20, 2), folder, SETTINGS, lambda _stage, done, _total: steps.append(done)
    )
    assert (steps[0], steps[-1], again.steps) == (last + 1, 32, 32)
    assert same(folder, whole)
    curves = [[json.loads(line) for line in (f / train.LOSSES).read_text().splitlines()] for f in (folder, whole)]
    losses = [[(row["step"], row["loss"]) for row in curve if "loss" in row] for curve in curves]
    assert losses[0] == losses[1]


def test_another_seed_gives_other_weights(base: RetrievalConfig, whole: Path, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=4, batch_size=8, learning_rate=0.3, patience=99, seed=4)
    train_embedder(base, synonyms(60, 1), synonyms(20, 2), tmp_path / "model", settings, train_quietly)
    assert not same(tmp_path / "model", whole)


def test_a_run_ends_early_when_the_dev_split_gets_no_better(base: RetrievalConfig, tmp_path: Path) -> None:
    hostile = [Row(row.question, row.negatives[0], (row.positive,)) for row in synonyms(20, 1)]
    settings = TrainSettings(epochs=20, batch_size=8, learning_rate=0.05, patience=2)
    done = train_embedder(base, synonyms(40, 1), hostile, tmp_path / "model", settings, train_quietly)
    assert done.steps < 100
    assert done.best_step == done.steps - 20  # the weights of two looks before: 10 looks in 100 steps


def test_prompts_of_the_embedder_stand_in_front_in_training_too(base: RetrievalConfig, tmp_path: Path) -> None:
    plain = TrainSettings(max_steps=3, batch_size=8, learning_rate=0.05)
    prompted = base.model_copy(update={"query_prompt": "dudu sit "})
    train_embedder(base, synonyms(20, 1), [], tmp_path / "plain", plain, train_quietly)
    train_embedder(prompted, synonyms(20, 1), [], tmp_path / "prompted", plain, train_quietly)
    assert not same(tmp_path / "plain", tmp_path / "prompted")


def test_a_large_batch_is_trained_by_the_cached_loss_to_the_same_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = retrieval(transformer(tmp_path / "base"))
    rows, settings = synonyms(24, 1), TrainSettings(max_steps=2, batch_size=24, learning_rate=1e-3)
    for name, limit in (("plain", 64), ("cached", 8)):
        monkeypatch.setattr(train, "_CACHED_ABOVE", limit)
        train_embedder(base, rows, [], tmp_path / name, settings, train_quietly)
    a, b = (weights(tmp_path / name) for name in ("plain", "cached"))
    assert a.keys() == b.keys()
    assert all(np.allclose(a[name], b[name], atol=2e-4) for name in a)


def transformer(folder: Path) -> Path:
    """An embedder that is a transformer: the body of the small reranker, without dropout."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    build_reranker(folder / "body")
    config = json.loads((folder / "body/config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "body/config.json").write_text(json.dumps(config))
    body = Transformer(str(folder / "body"))
    SentenceTransformer(modules=[body, Pooling(body.get_embedding_dimension())], device="cpu").save(str(folder / "m"))
    return folder / "m"


def test_a_reranker_learns_what_marks_an_answer(tmp_path: Path) -> None:
    base = build_reranker(tmp_path / "base")
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(40):
        plain = [" ".join(rng.choice(WORDS[:60], 6)) for _ in range(3)]
        rows.append(Row(" ".join(rng.choice(WORDS[:60], 3)), f"{WORDS[65]} {plain[0]}", (plain[1], plain[2])))
    cfg = RetrievalConfig(device="cpu", precision="float32")
    settings = TrainSettings(epochs=9, batch_size=24, learning_rate=3e-3)
    done = train_reranker(cfg, str(base), rows[:30], [], tmp_path / "model", settings, train_quietly)
    assert done.steps == 36  # 90 pairs in batches of 24, nine times
    trained = Reranker(cfg.model_copy(update={"reranker": str(tmp_path / "model")}))
    found = [trained.score(row.question, [*row.negatives, row.positive]) for row in rows[30:]]
    assert np.mean([np.argmax(scores) == 2 for scores in found]) >= 0.8


def test_a_first_reranker_has_the_built_in_encoder_and_a_head_that_the_seed_decides(embedder: Embedder) -> None:
    cfg = RetrievalConfig(device="cpu", precision="float32")
    one, again, other = (train._new_reranker(cfg, seed).state_dict() for seed in (1, 1, 2))
    heads = {name for name in one if "classifier" in name}
    assert heads
    assert all(one[name].equal(again[name]) for name in one)
    assert {name for name in one if not one[name].equal(other[name])} == {n for n in heads if n.endswith("weight")}
    encoder = embedder._model.state_dict()
    name = "encoder.layer.5.output.dense.weight"
    assert next(v for k, v in one.items() if k.endswith(name)).equal(
        next(v for k, v in encoder.items() if k.endswith(name))
    )


def test_a_reranker_of_two_classes_cannot_be_trained(tmp_path: Path) -> None:
    base = build_reranker(tmp_path / "base", labels=2)
    with pytest.raises(ModelError, match="2 classes"):
        train_reranker(
            RetrievalConfig(device="cpu"), str(base), synonyms(12, 1), [], tmp_path / "m", SETTINGS, train_quietly
        )


def test_a_disk_without_room_is_refused_before_the_start(
    base: RetrievalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match="disk is too full") as error:
        train_embedder(base, synonyms(20, 1), [], tmp_path / "m", SETTINGS, train_quietly)
    assert "RAGSTONE_DATA" in error.value.hint


def test_weights_that_became_no_numbers_are_not_saved(base: RetrievalConfig, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=3, batch_size=8, learning_rate=float("inf"), warmup=0.0)
    with pytest.raises(ModelError, match="NaN or infinite"):
        train_embedder(base, synonyms(20, 1), [], tmp_path / "m", settings, train_quietly)
    assert not (tmp_path / "m" / "modules.json").exists()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        train_embedder(retrieval(tmp_path / "absent"), synonyms(12, 1), [], tmp_path / "m", SETTINGS, train_quietly)


def never(hit: Hit) -> bool:
    return False


QUESTION = "bakan belen bimir"
PASSAGES = {
    "answer.md": "bakan belen bimir bonor bupux daras desit",
    "copy.md": "bakan belen bimir bonor bupux daras desit",
    "longer.md": "bakan belen bimir bonor bupux daras desit dikan dilen",
    "near.md": "bakan belen bimir bonor bupux daras dokan dulen domir",
    "other.md": "bakan dikan dosit dunor bapux",
    "far.md": "dukan dulen dumir dunor dupux",
}


def test_negatives_are_found_by_the_search_and_are_no_copy_of_the_positive(cfg: Config, base: RetrievalConfig) -> None:
    cfg = cfg.model_copy(update={"retrieval": base})
    index = build_index(cfg, Embedder(base), PASSAGES)
    ids = {path: i for i, path in select(index.catalog, "SELECT c.id, d.path FROM chunks c JOIN documents d ON d.id = "
                                                     "c.document_id")}  # fmt: skip
    home = frozenset({ids["answer.md"], ids["far.md"]})
    mined = mine(index, QUESTION, home, base, never, count=10, margin=0.0)
    paths = [hit.path for hit in mined.negatives]
    assert mined.positive.path == "answer.md"
    assert paths[0] == "near.md"
    assert not {"answer.md", "far.md", "copy.md", "longer.md"} & set(paths)
    assert mined.copies == 2
    barred = mine(index, QUESTION, home, base, lambda hit: hit.path == "near.md", count=10, margin=0.0)
    assert [hit.path for hit in barred.negatives] == [path for path in paths if path != "near.md"]
    cosine = dict(index.store.dense(index.embedder.embed_query(QUESTION), 6))
    margin = 1 - (cosine[ids["near.md"]] - 0.001) / cosine[ids["answer.md"]]
    strict = mine(index, QUESTION, home, base, never, count=10, margin=margin)
    assert [hit.path for hit in strict.negatives] == [path for path in paths if path != "near.md"]
    assert strict.above == mined.above + 1
    assert len(mine(index, QUESTION, home, base, never, count=1, margin=0.0).negatives) == 1
    index.close()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Annual leave is 25 days.", "annual  leave is 25 days", True),
        ("Annual leave is 25 days.", "See below. Annual leave is 25 days. Sick leave needs a certificate.", True),
        ("a b c d e f g h i j", "a b c d e f g h i k", True),
        ("a b c d e f g h i j", "a b c d e f k l m n", False),
        ("年假每年二十五天", "病假超过三天需要证明", False),
    ],
)
def test_copies_are_told_by_their_words(one: str, other: str, expected: bool) -> None:
    assert copy_of(one, other) is copy_of(other, one) is expected
