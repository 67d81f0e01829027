"""Recipe: what `ragstone index` would do and what it would cost, on this machine; nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.index import Progress, Work, chunker, look, quiet, read_one
from core.config import Config
from core.errors import ConfigError
from core.types import FileEntry, FileError
from ingest.scan import Plan, check_folder
from retrieval.embed import Embedder
from retrieval.home import names
from retrieval.index import Index

_SAMPLE = 200  # files that are read for an estimate; where there are no more, it is a count
_TIMED = 64  # texts that are embedded to learn how fast this machine is


@dataclass(slots=True)
class Forecast:
    """The plan of each folder, and its cost: chunks, new texts to embed, seconds. `exact`: counted, not estimated."""

    plans: dict[str, Plan] = field(default_factory=dict)
    chunks: int = 0
    embed: int = 0
    seconds: float = 0.0
    exact: bool = True


@dataclass(slots=True)
class _Sample:
    """What reading some of the files gave."""

    texts: dict[bytes, str] = field(default_factory=dict)
    chunks: float = 0.0
    embed: float = 0.0
    seconds: float = 0.0
    failed: list[FileError] = field(default_factory=list)


def forecast(
    cfg: Config, kb: str, folders: Sequence[Path] = (), *, rebuild: bool = False, progress: Progress = quiet
) -> Forecast:
    """`ragstone index --plan`: what `app.index.run` would do with the same arguments.

    Up to 200 files that must be read are read, so that chunks and new embeddings are counts; of more, a sample of each
    format is, and they are estimates. Raises `ConfigError`, `CatalogError` and `ReadError` as the run would.
    """
    for folder in folders:
        check_folder(folder)
    embedder = Embedder(cfg.retrieval)
    index = _opened(cfg, kb, embedder, rebuild)
    known = index.catalog.folders() if index else []
    todo = [folder.resolve() for folder in folders]
    if rebuild or not todo:
        todo += [Path(other) for other in known if Path(other) not in todo]
    if not todo:
        raise ConfigError(f"knowledge base {kb!r} follows no folder yet", f"give one: ragstone index FOLDER --kb {kb}")
    result = Forecast()
    reading: list[tuple[Path, FileEntry]] = []
    for folder in todo:
        todo_here = _plan(index, folder, cfg, rebuild)
        result.plans[str(folder)] = todo_here
        reading += [(folder, e) for e in (*todo_here.added, *(entry for _, entry in todo_here.changed))]
    result.exact = len(reading) <= _SAMPLE
    known_keys = None if rebuild and _other_embedder(index, embedder) else index
    sample = _read_sample(reading, cfg, embedder, known_keys, progress)
    result.chunks, result.embed = round(sample.chunks), round(sample.embed)
    result.seconds = max(sample.seconds, sample.embed * _seconds_a_text(sample, embedder))
    for folder in todo:
        failed = {error.path for error in sample.failed}
        plan = result.plans[str(folder)]
        plan.failed += [error for error in sample.failed if any(e.path == error.path for e in plan.added)]
        plan.added = [entry for entry in plan.added if entry.path not in failed]
    if index:
        index.close()
    return result


def _opened(cfg: Config, kb: str, embedder: Embedder, rebuild: bool) -> Index | None:
    data = Path(cfg.app.data)
    if kb not in names(data):
        return None
    index = Index.open(data, kb, embedder)
    if not rebuild:
        index.check_writable(embedder, chunker(cfg.ingest))
    return index


def _other_embedder(index: Index | None, embedder: Embedder) -> bool:
    return index is not None and index.catalog.manifest().embedder != embedder.identity


def _plan(index: Index | None, folder: Path, cfg: Config, rebuild: bool) -> Plan:
    from ingest.read import supported
    from ingest.scan import plan

    if index is None or rebuild:
        return plan(folder, cfg.ingest, supported, lambda below: (), apart=Path(cfg.app.data).resolve())
    return look(index, folder, cfg.ingest)


def _read_sample(
    files: Sequence[tuple[Path, FileEntry]], cfg: Config, embedder: Embedder, index: Index | None, progress: Progress
) -> _Sample:
    """Read some files of each format, and scale what they give by the bytes of all."""
    kinds: dict[str, list[tuple[Path, FileEntry]]] = {}
    for folder, entry in files:
        kinds.setdefault(Path(entry.path).suffix.lower(), []).append((folder, entry))
    sample = _Sample()
    done = 0
    for members in kinds.values():
        share = len(members) if len(files) <= _SAMPLE else max(5, _SAMPLE * len(members) // len(files))
        members.sort(key=lambda member: member[1].size)
        chosen = members[:: max(1, len(members) // share)]
        scale = sum(entry.size for _, entry in members) / max(sum(entry.size for _, entry in chosen), 1)
        started = time.monotonic()
        for folder, entry in chosen:
            done += 1
            work = read_one(folder, entry, cfg.ingest, embedder)
            if isinstance(work, FileError):
                sample.failed.append(work)
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


def _seconds_a_text(sample: _Sample, embedder: Embedder) -> float:
    texts = list(sample.texts.values())[:: max(1, len(sample.texts) // _TIMED)][:_TIMED]
    if not texts:
        return 0.0
    embedder.embed_passages(texts[:4])  # the first call loads and warms up
    started = time.monotonic()
    embedder.embed_passages(texts)
    return (time.monotonic() - started) / len(texts)
