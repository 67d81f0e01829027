"""Recipe: examine what the configuration needs, and say what is missing and how to mend it."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.backend import resolve
from core.config import Config
from core.errors import RagstoneError
from retrieval.embed import MULTILINGUAL, Embedder
from retrieval.home import names
from retrieval.index import Index

_LOW_SPACE = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was examined."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def examine(cfg: Config) -> list[Check]:
    """All checks, in the order a question passes through them."""
    embedder = Embedder(cfg.retrieval)
    return [_data(Path(cfg.app.data)), *_embedder(embedder), *_knowledge_bases(cfg, embedder), _backend(cfg)]


def _data(folder: Path) -> Check:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {free / 2**30:.1f} GiB free"
    if not os.access(existing, os.W_OK):
        return Check("data folder", False, f"{detail}; not writable", "set RAGSTONE_DATA to a folder you can write")
    return Check("data folder", free > _LOW_SPACE, detail, "" if free > _LOW_SPACE else "free some space")


def _embedder(embedder: Embedder) -> list[Check]:
    try:
        english, chinese = embedder.read(["How many days of annual leave do I have?", "年假有几天？怎么申请？"])
        detail = f"{embedder.name}, {embedder.dimension} numbers a vector, reads {embedder.max_tokens} tokens"
    except RagstoneError as error:
        return [Check("embedder", False, error.message, error.hint)]
    languages = [name for name, reading in (("English", english), ("Chinese", chinese)) if reading.readable]
    hint = "" if chinese.readable else f"Chinese is found by words only; {', '.join(MULTILINGUAL)} read it"
    return [
        Check("embedder", True, f"{detail}; reads {' and '.join(languages) or 'neither English nor Chinese'}", hint)
    ]


def _knowledge_bases(cfg: Config, embedder: Embedder) -> list[Check]:
    checks = []
    for name in names(Path(cfg.app.data)):
        try:
            index = Index.open(Path(cfg.app.data), name, embedder)
            counts = index.counts()
            index.close()
        except RagstoneError as error:
            checks.append(Check(f"knowledge base {name!r}", False, error.message, error.hint))
        else:
            detail = f"{counts.documents} documents, {counts.chunks} chunks, {counts.dense} with a vector"
            checks.append(Check(f"knowledge base {name!r}", True, detail))
    return checks or [Check("knowledge bases", True, "none yet", "make one with `ragstone index FOLDER --kb NAME`")]


def _backend(cfg: Config) -> Check:
    try:
        backend = asyncio.run(resolve(cfg.llm))
    except RagstoneError as error:
        return Check("answers", False, error.message, error.hint)
    if backend.endpoint is None:
        return Check("answers", True, "extractive: the documents are quoted", " ".join(backend.notes))
    context = f", context {backend.endpoint.context} tokens" if backend.endpoint.context else ""
    return Check("answers", True, f"{backend.model} at {backend.endpoint.base_url}{context}")
