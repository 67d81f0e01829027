"""Readers and chunkers of others: of installed plug-ins, or of LlamaIndex and LangChain by the name of their class."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core import plugins
from core.config import IngestConfig
from core.errors import ConfigError, RagstoneError, ReadError
from core.text import language, well_formed
from core.types import Chunk, Document, Section
from ingest.fault import MOST, fault
from ingest.kind import suffix_of
from ingest.split import SPLITTER, split

_GROUP = "readers"
_FAULT = "its reader has a fault: docs/extending.md says what a document holds"


def readers(cfg: IngestConfig) -> dict[str, str]:
    """Of each suffix the reader that config.toml names for it, or the installed plug-in of that name."""
    return {f".{each.name}": f"plugin:{each.name}" for each in plugins.installed(_GROUP)} | cfg.readers


def reader_of(suffix: str, cfg: IngestConfig, ours: bool) -> str:
    """What reads a suffix in place of our own reader, or where we have none; "" for our own.

    A plug-in takes the place of our own reader only where config.toml says so.
    """
    return cfg.readers.get(suffix, "") if ours else readers(cfg).get(suffix, "")


def identity(cfg: IngestConfig) -> list[Any]:
    """Names the readers, with their versions and settings; empty where there are none."""
    there = [[each.name, each.package, each.version] for each in plugins.installed(_GROUP)]
    return [there, cfg.readers, cfg.reader_settings] if there or cfg.readers else []


def begins(head: bytes, cfg: IngestConfig) -> str:
    """The suffix of the plug-in that knows a file by its first bytes; "" for none."""
    for suffix, name in readers(cfg).items():
        try:
            made = reader(suffix, name, cfg)
        except ConfigError:  # said for each file of its suffix, and by `ragstone doctor`
            continue
        signatures = getattr(made.what, "magic", ())
        if any(isinstance(each, bytes) and each and head.startswith(each) for each in signatures):
            return suffix
    return ""


def read(data: bytes, suffix: str, name: str, cfg: IngestConfig) -> Document:
    """The document that another's reader makes of a file's bytes. Raises `ReadError` that names it."""
    try:
        made = reader(suffix, name, cfg)
    except ConfigError as error:  # one format cannot be read: all others can
        raise ReadError(error.message, error.hint) from error
    try:
        document = _given(made.what, data, f"file{suffix}", plugins.scheme_of(name))
    except (RagstoneError, MemoryError, RecursionError):
        raise
    except Exception as error:  # hostile bytes in another's code
        failed = made.failed(error)
        raise ReadError(failed.message, "the file may be damaged; else its reader has a fault") from error
    if wrong := fault(document):
        raise ReadError(f"{made.name} gave a document that cannot be kept: {wrong}", _FAULT)
    return document if document.sections else replace(document, sections=(Section(0, len(document.text)),))


def _given(what: Any, data: bytes, file_name: str, scheme: str) -> Document:
    """What a reader makes of a file's bytes, which one of a framework gets as a file."""
    if scheme == "plugin":
        return what.read(data, file_name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / file_name
        file.write_bytes(data)
        if scheme == "langchain":
            return _joined([(d.page_content, d.metadata) for d in what(file).load()])
        return _joined([(d.text, d.metadata) for d in what.load_data(file)])


def reader(suffix: str, name: str, cfg: IngestConfig) -> plugins.Plugged:
    """The reader of a suffix by its name. Raises `ConfigError` where it cannot be had."""
    if suffix_of(f"file{suffix}") != suffix:
        raise ConfigError(f"{suffix!r} is no suffix of files", 'it has the form ".xyz", in small letters')
    settings = cfg.reader_settings.get(suffix, {})
    if plugins.scheme_of(name) == "langchain":
        return plugins.make(_GROUP, name, settings)
    return plugins.make(_GROUP, name, settings, "load_data" if plugins.scheme_of(name) == "llama_index" else "read")


def _joined(parts: Sequence[tuple[str, dict[str, Any]]]) -> Document:
    """The documents that a framework made of one file as one, each a section, on its page where it says so."""
    text, sections, title, pages = "", [], "", []
    for said, metadata in parts:
        if not said.strip():
            continue
        start = len(text)
        text += well_formed(said).rstrip() + "\n\n"
        label = str(metadata.get("page_label", ""))
        page = int(label) if label.isascii() and label.isdigit() and 0 < int(label) <= MOST else None
        pages.append(page or 0)
        title = title or well_formed(str(metadata.get("title") or ""))
        sections.append(Section(start, len(text), (), page))
    return Document(text, title, tuple(sections), max(pages, default=0) or None)


# --- chunkers --------------------------------------------------------------------------------------------------------


def splitter(cfg: IngestConfig) -> str:
    """Names the chunker: our own, or a plug-in with its settings, and at the end its version."""
    if not cfg.chunker:
        return SPLITTER
    made = _chunker(cfg)
    settings = json.dumps(cfg.chunker_settings, sort_keys=True, default=str)
    marked = f"({hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()})" if cfg.chunker_settings else ""
    return f"{cfg.chunker}{marked}-{int(getattr(made.what, 'version', 1))}".replace(" ", "_")


def chunks(document: Document, cfg: IngestConfig, count_tokens: Callable[[str], int]) -> list[Chunk]:
    """The chunks of a document, by the configured chunker. Raises `ReadError` where a plug-in fails on it."""
    if not cfg.chunker:
        return split(document, cfg, count_tokens)
    made = _chunker(cfg)
    try:
        spans = [(int(start), int(end)) for start, end in made.what.spans(document, cfg.chunk_tokens, count_tokens)]
        return _cut(document, spans, count_tokens)
    except RagstoneError:
        raise
    except Exception as error:  # another's code may raise anything: one file is not cut
        failed = made.failed(error)
        raise ReadError(failed.message, 'set ingest.chunker = "" to cut by our own') from error


def _chunker(cfg: IngestConfig) -> plugins.Plugged:
    if plugins.scheme_of(cfg.chunker) != "plugin":
        raise ConfigError(f"ingest.chunker = {cfg.chunker!r} names no plug-in", 'it has the form "plugin:NAME"')
    return plugins.make("chunkers", cfg.chunker, cfg.chunker_settings, "spans")


def _cut(document: Document, spans: Sequence[tuple[int, int]], count_tokens: Callable[[str], int]) -> list[Chunk]:
    made: list[Chunk] = []
    before = 0
    for start, end in spans:
        if not before <= start < end <= len(document.text):
            raise ValueError(f"the passage {start}:{end} is out of order, empty, or beyond the text's end")
        before, text = start, document.text[start:end]
        if not text.strip():
            continue
        inside = next((s for s in document.sections if s.start <= start < s.end), Section(start, end))
        made.append(
            Chunk(len(made), start, end, text, inside.headings, inside.page, language(text), count_tokens(text))
        )
    return made
