"""Embedders, rerankers and stores of others: installed plug-ins, or classes of LangChain and LlamaIndex by name."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import plugins
from core.config import RetrievalConfig
from core.errors import ConfigError, ModelError
from core.once import once
from core.text import well_formed
from core.types import F32
from retrieval.embed import Embedder, Reading
from retrieval.fingerprint import fingerprint
from retrieval.store import Home

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

_LONGEST = 512  # tokens that an embedder is taken to read which does not say
_LEAST_NORM = 1e-6


def embedder_of(cfg: RetrievalConfig, *, remembers: bool = True) -> Embedder:
    """The embedder that is configured: a model, or one of others."""
    kind = PluggedEmbedder if plugins.is_named(cfg.embedder) else Embedder
    return kind(cfg, remembers=remembers)


class PluggedEmbedder(Embedder):
    """An embedder of others. It is taken to read every language; tokens are estimated where it counts none.

    Raises `ModelError` where it fails, or gives something that is no vectors of one length.
    """

    _light = None  # type: ignore[assignment]

    @once
    def _made(self) -> plugins.Plugged:
        if self.cfg.embed_url:
            raise ConfigError("retrieval.embed_url is for an embedder of ours", "empty it, or set retrieval.embedder")
        scheme = plugins.scheme_of(self.cfg.embedder)
        has = "get_text_embedding_batch" if scheme == "llama_index" else "embed_documents"
        return plugins.make("embedders", self.cfg.embedder, self.cfg.embedder_settings, has)

    @once
    def _own(self) -> Any:
        what = self._made.what
        return _OfLlamaIndex(what) if plugins.scheme_of(self.cfg.embedder) == "llama_index" else what

    @once
    def identity(self) -> str:  # type: ignore[override]
        """Names all that is configured of it but secrets: its name and settings, the files of folders, the prompts."""
        settings = json.dumps(self.cfg.embedder_settings, sort_keys=True, default=str)
        folders = [Path(value).expanduser() for value in self.cfg.embedder_settings.values() if isinstance(value, str)]
        files = [fingerprint(each, self.hashes, self.remembers) for each in folders if each.is_dir()]
        own = str(getattr(self._made.what, "identity", ""))
        parts = [self.name, settings, own, *files, *self.prompts, "unit"]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    @once
    def earlier_identity(self) -> str:  # type: ignore[override]
        """The same: no earlier version had any."""
        return self.identity

    @once
    def dimension(self) -> int:  # type: ignore[override]
        """Length of a vector."""
        with self._made.guarded():
            return len(self._own.embed_query("a"))

    @property
    def max_tokens(self) -> int:
        """The longest text that it says to read."""
        return int(getattr(self._made.what, "max_tokens", None) or _LONGEST)

    @property
    def prompts(self) -> tuple[str, str]:
        """What stands before each question, and each passage: the configured ones."""
        return self.cfg.query_prompt, self.cfg.passage_prompt

    def count_tokens(self, text: str) -> int:
        """Length of a text in its own tokens, or estimated: a wide character is one, 3.2 others are."""
        count = getattr(self._made.what, "count_tokens", None)
        if count is not None:
            with self._made.guarded():
                return int(count(well_formed(text)))
        wide = sum(c >= "\u2e80" for c in text)
        return wide + -(-(len(text) - wide) * 10 // 32)

    def _read(self, texts: Sequence[str]) -> list[Reading]:
        return [Reading(self.count_tokens(text), 0) for text in texts]

    def _computed(self, texts: list[str], prompt: str) -> F32:
        with self._made.guarded():
            return self._units(self._own.embed_documents([prompt + text for text in texts]), len(texts))

    def _embed_questions(self, texts: Sequence[str], prompt: str) -> F32:
        with self._made.guarded():
            return self._units([self._own.embed_query(prompt + text) for text in texts], len(texts))

    def _units(self, rows: Any, count: int) -> F32:
        """Rows of unit length. Raises `ModelError` where it is no rows of one length, as many as there are texts."""
        vectors = np.asarray(rows, np.float32)  # rows of several lengths raise here
        if vectors.shape != (count, self.dimension):
            raise ModelError(
                f"{self._made.name} gave vectors of shape {vectors.shape}, not {(count, self.dimension)}",
                "one vector is needed for each text, all of one length",
            )
        norms = np.linalg.norm(self._finite(vectors), axis=1, keepdims=True)
        return vectors / np.maximum(norms, _LEAST_NORM)


class _OfLlamaIndex:
    """A `BaseEmbedding` by the names of LangChain's `Embeddings`."""

    def __init__(self, own: "BaseEmbedding") -> None:
        self.own = own

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.own.get_text_embedding_batch(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.own.get_query_embedding(text)


# --- stores ----------------------------------------------------------------------------------------------------------


def home_of(database: str) -> Home:
    """Where the knowledge bases of an `app.database` are: a PostgreSQL, or what the plug-in of its scheme opens."""
    scheme = database.partition("://")[0]
    if plugins.found("stores", scheme) is None:
        from retrieval.postgres.home import PgHome

        return PgHome(database)
    return plugins.make("stores", f"plugin:{scheme}", {"url": database}, "opened").what


# --- rerankers -------------------------------------------------------------------------------------------------------


def reranker(cfg: RetrievalConfig) -> plugins.Plugged:
    """The reranker of others that is configured. Raises `ConfigError` where it cannot be had."""
    has = {"plugin": "scores", "langchain": "compress_documents", "llama_index": "postprocess_nodes"}
    return plugins.make("rerankers", cfg.reranker, cfg.reranker_settings, has[plugins.scheme_of(cfg.reranker)])


def scores(cfg: RetrievalConfig, query: str, passages: Sequence[str], notes: list[str]) -> list[float]:
    """What the reranker of others gives each passage; `notes` gets a line where it gave fewer back than it was given.

    Raises `ModelError` where it fails, or gives something that is no score of each.
    """
    scheme, made = plugins.scheme_of(cfg.reranker), reranker(cfg)
    with made.guarded():
        if scheme == "plugin":
            given: dict[int, float | None] = {n: float(one) for n, one in enumerate(made.what.scores(query, passages))}
            if len(given) != len(passages):
                raise ValueError(f"{len(given)} scores came for {len(passages)} passages")
        else:
            given = (_by_langchain if scheme == "langchain" else _by_llama_index)(made.what, query, passages)
        if len(given) < len(passages):
            notes.append(f"{made.name} kept {len(given)} of {len(passages)} passages: the others stand behind them")
        found = _filled(given, len(passages))
        if not np.isfinite(found).all():
            raise ValueError("a score is NaN or infinite")
        return found


def _by_langchain(compressor: Any, query: str, passages: Sequence[str]) -> dict[int, float | None]:
    from langchain_core.documents import Document

    documents = [Document(page_content=text, metadata={"n": n}) for n, text in enumerate(passages)]
    kept = compressor.compress_documents(documents, query)
    return {document.metadata["n"]: document.metadata.get("relevance_score") for document in kept}


def _by_llama_index(postprocessor: Any, query: str, passages: Sequence[str]) -> dict[int, float | None]:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n)), score=None) for n, text in enumerate(passages)]
    return {int(found.node.node_id): found.score for found in postprocessor.postprocess_nodes(nodes, query_str=query)}


def _filled(given: dict[int, float | None], count: int) -> list[float]:
    """A score for each passage: where some have none the order stands for them, and what was left out comes last."""
    if any(score is None for score in given.values()):
        given = {n: 1 - place / (count + 1) for place, n in enumerate(given)}
    known = [float(score) for score in given.values() if score is not None]
    shares = not known or (min(known) >= 0 and max(known) <= 1)
    last = 0.0 if shares else min(known) - 10.0
    return [float(score) if (score := given.get(n)) is not None else last for n in range(count)]
