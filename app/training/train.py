"""Recipe: fine-tune the embedder or the reranker on the documents it will search, and measure what that gained.

pairs -> split by file -> hard negatives -> training -> held-out files before and after -> data/models/<name>/, which
is there only when all of it is: the model, run.json and loss.jsonl. Meanwhile the run is in <name>.partial.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from app.keeping.index import Progress, quiet
from app.keeping.index import run as index_run
from app.measuring.evaluate import TestSet
from app.measuring.golden import squeeze
from app.training import gain
from app.training.pairs import Example, Material, Split, copies, drafted, fingerprint, held_texts, opened, split
from core.config import Config
from core.errors import ConfigError, EvalError, ModelError
from core.text import digest, heading_line
from core.types import Hit
from llm import registry
from retrieval.index import Index
from retrieval.negatives import copy_of, mine
from retrieval.train import (
    Row,
    Trained,
    TrainSettings,
    base_identity,
    check_libraries,
    drop_checkpoints,
    train_embedder,
    train_reranker,
)

Kind = Literal["embedder", "reranker"]

_LEAST = 10  # pairs to train on
_DRAWS = 20  # passages that are tried in place of a negative that was not found
_DECIDES_NOTHING = {"rerank_key", "embed_url"}  # a secret; where the same vectors are made
_MORE = (
    "approve questions (`ragstone golden draft --kb {kb}`, then `golden approve`), give --from FILE.jsonl, or have "
    "pairs made from the documents: --drafted 500"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained on what; together with the inputs it decides what comes out.

    `source` is a BEIR folder or a JSONL file, None the golden set; `base` a reranker to start from ("": the configured
    one). `margin` is relative: a passage that scores above (1 - margin) of the positive is no negative.
    """

    kind: Kind
    kb: str
    name: str
    settings: TrainSettings
    source: Path | None = None
    base: str = ""
    drafted: int = 0
    held_out: float = 0.2
    dev: float = 0.1
    negatives: int = 1
    margin: float = 0.05


def run(cfg: Config, request: Request, *, resume: bool = False, progress: Progress = quiet) -> dict[str, Any]:
    """Train, measure, and return what run.json says; a finished run of the same inputs and settings is not repeated.

    `resume` goes on with one that was stopped. Raises `EvalError` for too few pairs or no file to hold out,
    `ModelError` for the base model and for training itself, `ConfigError` for a name that is taken, `CatalogError` for
    the knowledge base.
    """
    home = _home(cfg, request.name)
    record = _record(cfg, request)
    if done := registry.finished(home, record["key"]):
        return done | {"skipped": True}
    check_libraries()
    with registry.alone(home) as partial:
        registry.begin(partial, record["key"], resume=resume)
        started = time.monotonic()
        with opened(cfg, request.kb, request.source, progress) as material:
            record |= _trained_and_measured(cfg, request, material, partial, progress)
        record |= {"seconds": round(time.monotonic() - started, 1), "finished": time.strftime("%Y-%m-%d %H:%M:%S")}
        drop_checkpoints(partial)
        record = registry.finish(partial, record)
    return record | {"skipped": False}


def promote(cfg: Config, kb: str, report: dict[str, Any], progress: Progress = quiet) -> bool:
    """Rebuild the knowledge base with the trained embedder where the gain is sure; returns whether it was done."""
    if report["gain"]["low"] <= 0:
        return False
    if report["kind"] == "embedder":
        retrieval = cfg.retrieval.model_copy(update={"embedder": report["model"], "revision": ""})
        index_run(cfg.model_copy(update={"retrieval": retrieval}), kb, rebuild=True, progress=progress)
    return True


def verdict(report: dict[str, Any]) -> str:
    """One line: what the held-out files say."""
    gain = report["gain"]
    what = f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] {gain['metric']}"
    on = f"on {report['split']['questions']['test']} questions of held-out files"
    return f"gain of {what} {on}" if gain["low"] > 0 else f"no gain: not promoted ({what} {on})"


def _home(cfg: Config, name: str) -> Path:
    return registry.home(Path(cfg.app.data), name)


def _record(cfg: Config, request: Request) -> dict[str, Any]:
    """What decides the outcome of a run, and the key that it has by that."""
    base = _base(cfg, request)
    settings = asdict(request) | {"source": request.source.name if request.source else None}
    del settings["name"]
    if request.source:
        del settings["kb"]
    record: dict[str, Any] = {
        "kind": request.kind, "model": str(_home(cfg, request.name)), "seed": request.settings.seed,
        "base": {"name": base, "identity": base_identity(cfg.retrieval, base)},
        "inputs": fingerprint(cfg, request.kb, request.source), "settings": settings,
        "versions": {name: version(name) for name in ("ragstone", "sentence-transformers", "transformers", "torch")},
    }  # fmt: skip
    decides = {key: record[key] for key in ("base", "inputs", "settings")}
    decides |= {"retrieval": cfg.retrieval.model_dump(exclude=_DECIDES_NOTHING), "ingest": cfg.ingest.model_dump()}
    return record | {"key": digest(json.dumps(decides, sort_keys=True)).hex()}


def _base(cfg: Config, request: Request) -> str:
    base = cfg.retrieval.embedder if request.kind == "embedder" else request.base or cfg.retrieval.reranker
    if not base:
        raise ConfigError(
            "no reranker is configured to start from",
            "give --base FOLDER, or `--base builtin`: the built-in encoder below a head that is new",
        )
    return base


def _trained_and_measured(
    cfg: Config, request: Request, material: Material, partial: Path, progress: Progress
) -> dict[str, Any]:
    index, examples = material.index, list(material.examples)
    if request.drafted:
        progress("draft", 0, 0)
        examples += drafted(material, cfg, request.drafted, request.settings.seed)
    if not examples:
        raise EvalError("there is no pair to train on", _MORE.format(kb=request.kb))
    parts = split(examples, copies(index), request.held_out, request.dev, request.settings.seed)
    train, dev, counts = _rows(cfg, request, index, parts, progress)
    if len(train) < _LEAST:
        left = "; ".join(f"{count} left out: {reason}" for reason, count in counts.items() if count)
        raise EvalError(
            f"only {len(train)} pairs to train on, and {_LEAST} are the least ({left or 'none left out'})",
            _MORE.format(kb=request.kb),
        )
    trained = _train(cfg, request, train, dev, partial, progress)
    testset = TestSet(tuple(e.asked for e in parts.test if e.asked), material.depth, {})
    if request.kind == "embedder":
        measured = gain.of_embedder(cfg, index, testset, partial, progress)
    else:
        measured = gain.of_reranker(cfg, index, testset, _base(cfg, request), partial, progress)
    return {
        "pairs": {"train": len(train), "dev": len(dev), "origins": Counter(example.origin for example in examples)},
        "split": {
            "held_out": sorted(parts.held_out), "dev": sorted(parts.dev_files), "counts": counts,
            "questions": {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)},
            "drafted_questions_only": all(e.origin == "drafted" for e in parts.test),
        },
        "training": asdict(trained),
    } | measured  # fmt: skip


def _train(
    cfg: Config, request: Request, train: list[Row], dev: list[Row], partial: Path, progress: Progress
) -> Trained:
    """Train, unless an earlier attempt at this run had come past that."""
    pairs = digest(json.dumps([[asdict(row) for row in part] for part in (train, dev)])).hex()
    state = registry.state(partial)
    if state.setdefault("pairs", pairs) != pairs:
        raise ModelError(
            "the pairs came out otherwise than when this run was begun, so it cannot be gone on with",
            "leave --resume out to start anew",
        )
    if "trained" not in state:
        registry.keep(partial, state)
        if request.kind == "embedder":
            done = train_embedder(cfg.retrieval, train, dev, partial, request.settings, progress)
        else:
            done = train_reranker(cfg.retrieval, _base(cfg, request), train, dev, partial, request.settings, progress)
        state["trained"] = asdict(done)
        registry.keep(partial, state)
    return Trained(**state["trained"])


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(
    cfg: Config, request: Request, index: Index, parts: Split, progress: Progress
) -> tuple[list[Row], list[Row], dict[str, int]]:
    """The rows of both sides of the training files, and what was left out of them, mined and drawn, by reason."""
    counts = Counter(parts.left_out)
    texts = held_texts(index, parts.held_out)

    def barred(hit: Hit) -> bool:
        return hit.path in parts.held_out or digest(squeeze(hit.text)) in texts

    sides: list[list[Row]] = []
    total, done = len(parts.train) + len(parts.dev), 0
    for side in (parts.train, parts.dev):
        found: list[tuple[Example, Hit, str, list[Hit]]] = []
        for example in side:
            done += 1
            progress("mine", done, total)
            found += _mined(cfg, request, index, example, barred, counts)
        if request.kind == "embedder":
            _draw(found, request, counts)
        rows = [Row(e.question, text, tuple(map(_passage, negatives))) for e, _, text, negatives in found]
        sides.append(rows)
    return sides[0], sides[1], dict(counts)


def _mined(
    cfg: Config, request: Request, index: Index, example: Example, barred: Callable[[Hit], bool], counts: Counter[str]
) -> Iterator[tuple[Example, Hit, str, list[Hit]]]:
    """Of each answer to a question: the passage, its text, and hard negatives."""
    if request.kind == "embedder" and not index.embedder.read([example.question])[0].readable:
        counts["the embedder cannot read the question"] += 1
        return
    for home in example.homes:
        mined = mine(
            index, example.question, home, cfg.retrieval, lambda hit: barred(hit) or answers(example, hit),
            count=request.negatives, margin=request.margin,
        )  # fmt: skip
        if barred(mined.positive):
            counts["a copy of a held-out passage"] += 1
            continue
        counts["negatives mined"] += len(mined.negatives)
        counts["negatives refused as copies of the positive"] += mined.copies
        counts["negatives refused as too near to the positive"] += mined.above
        yield example, mined.positive, example.passage or _passage(mined.positive), list(mined.negatives)


def answers(example: Example, hit: Hit) -> bool:
    """Whether a passage answers a question, as far as is known."""
    known = any(hit.chunk_id in home for home in example.homes)
    return known or (example.asked is not None and example.asked.judge([hit], 1).rank is not None)


def _draw(found: list[tuple[Example, Hit, str, list[Hit]]], request: Request, counts: Counter[str]) -> None:
    """Give every row equally many negatives: passages of other rows where too few were mined; else the row goes."""
    rng = random.Random(request.settings.seed)
    pool = [positive for _, positive, _, _ in found]
    for example, positive, _, negatives in found:
        for _ in range(_DRAWS):
            if len(negatives) == request.negatives:
                break
            other = rng.choice(pool)
            if not answers(example, other) and not copy_of(other.text, positive.text) and other not in negatives:
                negatives.append(other)
                counts["negatives drawn at random"] += 1
    whole = [row for row in found if len(row[3]) == request.negatives]
    counts["no negative to be had"] += len(found) - len(whole)
    found[:] = whole


def _passage(hit: Hit) -> str:
    """A passage as both models read it: below its title and heading path."""
    return f"{heading_line(hit.title, hit.headings)}\n{hit.text}".strip()
