"""Recipe: what `ragstone index` would do and what it would cost, on this machine; nothing is written.

But what changed in a bucket or on a page of the web is downloaded, as any run would, and is there for the next one.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from app.keeping.folders import asking, brought, folders_of, reach_of
from app.keeping.index import Progress, check_fits, chunker, look, quiet
from app.keeping.work import Work, read_one
from core.config import Config
from core.errors import ReadError
from core.types import FileEntry, FileError
from ingest.read import supported
from ingest.scan import Plan, plan
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.plugged import embedder_of

_SAMPLE = 200  # files that are read for an estimate; where there are no more, it is a count
_TIMED = 64  # texts that are embedded to learn how fast this machine is
_FEW = 20  # of them, where what is asked for is not much


@dataclass(frozen=True, slots=True)
class Switch:
    """What embedding a knowledge base anew by today's default would bring, and cost.

    `read`: chunks per language that are found by words only, which it reads. `seconds` to embed all `chunks` here.
    """

    old: str
    new: str
    read: dict[str, int]
    chunks: int
    seconds: float


@dataclass(slots=True)
class Forecast:
    """The plan of each folder, and its cost: chunks, new texts to embed, seconds. `exact`: counted, not estimated."""

    plans: dict[str, Plan] = field(default_factory=dict)
    chunks: int = 0
    embed: int = 0
    seconds: float = 0.0
    exact: bool = True
    switch: Switch | None = None


@dataclass(slots=True)
class _Sample:
    """What reading some of the files gave."""

    texts: dict[bytes, str] = field(default_factory=dict)
    chunks: float = 0.0
    embed: float = 0.0
    seconds: float = 0.0
    failed: dict[str, list[FileError]] = field(default_factory=dict)  # by folder


def forecast(
    cfg: Config,
    kb: str,
    folders: Sequence[Path | str] = (),
    *,
    rebuild: bool = False,
    allow_empty: bool = False,
    embedder: Embedder | None = None,
    progress: Progress = quiet,
) -> Forecast:
    """`ragstone index --plan`: what `index.run` would do with the same arguments.

    Up to 200 files that must be read are read, so that chunks and new embeddings are counts; of more, a sample of each
    format is, and they are estimates. `embedder`: the configured one, where it is loaded already. Raises
    `ConfigError`, `CatalogError` and `ReadError` as the run would.
    """
    todo = folders_of(cfg, kb, folders, rebuild=rebuild)
    configured, data = embedder or embedder_of(cfg.retrieval, remembers=False), Path(cfg.app.data)
    database = cfg.app.database
    there = kb in Index.names(data, database) and not rebuild
    index = Index.open(data, kb, configured, database) if there else None
    if index:
        index.check_writable(configured, chunker(cfg.ingest))
    embedder = index.embedder if index else configured
    result = Forecast()
    for path in todo:
        try:
            result.plans[path] = _plan(index, data / kb, path, cfg, allow_empty, progress)
        except ReadError as error:
            if rebuild or folders:
                raise
            result.plans[path] = Plan(failed=[FileError(path, error.message, error.hint, folder=path)])
    files = [
        (path, entry)
        for path, here in result.plans.items()
        for entry in (*here.added, *(entry for _, entry in here.changed))
    ]
    if files:
        check_fits(cfg.ingest, embedder)
    result.exact = len(files) <= _SAMPLE
    sample = _read_sample(data / kb, files, cfg, embedder, index, progress)
    result.chunks, result.embed = round(sample.chunks), round(sample.embed)
    result.seconds = max(sample.seconds, sample.embed * _seconds_a_text(list(sample.texts.values()), embedder))
    for path, failed in sample.failed.items():
        _leave_out(result.plans[path], failed)
    if index:
        result.switch = _switch(index, configured)
        index.close()
    return result


def _switch(index: Index, default: Embedder) -> Switch | None:
    """None where the knowledge base was made with what is the default, or with what somebody chose."""
    if default.cfg.embedder != "auto" or index.embedder is default:
        return None
    ids = index.catalog.first_chunks(_FEW)
    hits = list(index.hits(ids).values())  # those without a vector first
    readings = default.read([hit.text for hit in hits])
    read = {hit.language for hit, reading in zip(hits, readings, strict=True) if reading.readable}
    blind = {code: n for code, n in index.catalog.languages(unreadable_only=True).items() if code in read}
    chunks = index.counts().chunks
    seconds = chunks * _seconds_a_text([hit.text for hit in hits], default)
    return Switch(index.embedder.name, default.name, blind, chunks, seconds)


def _plan(
    index: Index | None, home: Path, folder: str, cfg: Config, allow_empty: bool, progress: Progress
) -> Plan:  # fmt: skip
    if index is None:
        read = partial(supported, cfg=cfg.ingest)
        here, before = brought(home, folder, cfg.ingest, progress, asking(cfg))
        return plan(here, cfg.ingest, read, lambda below: (), apart=home.parent.resolve(), before=before)
    return look(index, folder, cfg.ingest, allow_empty=allow_empty, progress=progress, pages=asking(cfg))


def _leave_out(todo: Plan, failed: Sequence[FileError]) -> None:
    """Files that cannot be read are neither added nor changed."""
    names = {error.path for error in failed}
    todo.failed += failed
    todo.added = [entry for entry in todo.added if entry.path not in names]
    todo.changed = [(old, entry) for old, entry in todo.changed if entry.path not in names]


def _read_sample(
    home: Path,
    files: Sequence[tuple[str, FileEntry]],
    cfg: Config,
    embedder: Embedder,
    index: Index | None,
    progress: Progress,
) -> _Sample:
    """Read some files of each format, and scale what they give by the bytes of all."""
    kinds: dict[str, list[tuple[str, FileEntry]]] = {}
    for folder, entry in files:
        kinds.setdefault(Path(entry.path).suffix.lower(), []).append((folder, entry))
    sample = _Sample()
    done = 0
    for members in kinds.values():
        share = len(members) if len(files) <= _SAMPLE else max(5, _SAMPLE * len(members) // len(files))
        members.sort(key=lambda member: member[1].size)
        chosen = members[:: math.ceil(len(members) / share)]
        scale = sum(entry.size for _, entry in members) / max(sum(entry.size for _, entry in chosen), 1)
        started = time.monotonic()
        for folder, entry in chosen:
            done += 1
            work = read_one(reach_of(home, folder, cfg.ingest), entry, cfg.ingest, embedder)
            if isinstance(work, FileError):
                sample.failed.setdefault(folder, []).append(replace(work, folder=folder))
            else:
                _count(work, scale, sample, index)
            progress("estimate", done, min(len(files), _SAMPLE))
        sample.seconds += (time.monotonic() - started) * scale
    return sample


def _count(work: Work, scale: float, sample: _Sample, index: Index | None) -> None:
    keys = {key: text for key, text in zip(work.indexed.keys, work.texts, strict=True) if key is not None}
    new = keys.keys() - sample.texts.keys()
    missing = index.catalog.missing(new) if index else new
    sample.texts.update((key, keys[key]) for key in missing)
    sample.chunks += len(work.texts) * scale
    sample.embed += len(missing) * scale


def _seconds_a_text(texts: Sequence[str], embedder: Embedder) -> float:
    texts = texts[:: max(1, len(texts) // _TIMED)][:_TIMED]
    if not texts:
        return 0.0
    embedder.embed_passages(texts[:4])  # the first call loads and warms up
    started = time.monotonic()
    embedder.embed_passages(texts)
    return (time.monotonic() - started) / len(texts)
