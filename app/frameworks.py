"""A knowledge base as a part of other frameworks: a retriever for LangChain, a retriever for LlamaIndex.

Both search as `ragstone search` does, and what they find is what the folder says now.
"""

import asyncio
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import Field

from core.config import RetrievalConfig
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.index import Index
from retrieval.rerank import reranker_of
from retrieval.search import search

_FOR_MODELS = ("path", "page", "headings")  # of the metadata, what LlamaIndex shows a language model


class LangChainRetriever(LangChainBase):
    """Documents for a question, best first; `metadata` says where each stands in its file and how it was found.

    Raises `CatalogError` and `ModelError` as `search` does.
    """

    index: Index = Field(exclude=True, repr=False)
    cfg: RetrievalConfig = Field(exclude=True, repr=False)  # it holds a key, and traces show what repr does

    @classmethod
    def open(cls, data: Path, kb: str, cfg: RetrievalConfig) -> Self:
        """The retriever of a knowledge base in a data folder. Raises `CatalogError` where there is none."""
        return cls(index=Index.open(data, kb, Embedder(cfg)), cfg=cfg)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self.index = _current(self.index)
        return [
            Document(id=_id(self.index, hit), page_content=hit.text, metadata=_metadata(hit))
            for hit in search(self.index, [query], self.cfg, reranker=reranker_of(self.cfg))
        ]


class LlamaIndexRetriever(LlamaIndexBase):
    """Nodes for a question, best first; `metadata` says where each stands in its file and how it was found.

    Raises `CatalogError` and `ModelError` as `search` does.
    """

    def __init__(self, index: Index, cfg: RetrievalConfig) -> None:
        super().__init__()
        self.index = index
        self.cfg = cfg

    @classmethod
    def open(cls, data: Path, kb: str, cfg: RetrievalConfig) -> Self:
        """The retriever of a knowledge base in a data folder. Raises `CatalogError` where there is none."""
        return cls(Index.open(data, kb, Embedder(cfg)), cfg)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.index = _current(self.index)
        hits = search(self.index, [query_bundle.query_str], self.cfg, reranker=reranker_of(self.cfg))
        return [_node(self.index, hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _current(index: Index) -> Index:
    """The generation that answers now: after a `--rebuild` the one that was opened says what used to be."""
    return Index.open(index.home.parent, index.name, index.embedder) if index.superseded else index


def _node(index: Index, hit: Hit) -> NodeWithScore:
    metadata = _metadata(hit)
    unseen = [name for name, value in metadata.items() if name not in _FOR_MODELS or not value]
    node = TextNode(
        id_=_id(index, hit), text=hit.text, metadata=metadata, start_char_idx=hit.start, end_char_idx=hit.end,
        excluded_llm_metadata_keys=unseen, excluded_embed_metadata_keys=unseen,
    )  # fmt: skip
    return NodeWithScore(node=node, score=hit.score)


def _id(index: Index, hit: Hit) -> str:
    """Names a chunk across knowledge bases, so that a fusion of several keeps what is not the same."""
    return f"{index.name}/{hit.chunk_id}"


def _metadata(hit: Hit) -> dict[str, Any]:
    """Plain data, the same for both frameworks; offsets are characters of the document's text, pages count from 1."""
    return {
        "path": hit.path, "folder": hit.folder, "title": hit.title, "page": hit.page, "headings": list(hit.headings),
        "start": hit.start, "end": hit.end, "chunk_id": hit.chunk_id, "language": hit.language, "stale": hit.stale,
        "rank": hit.rank, "score": hit.score, "dense_rank": hit.dense_rank, "lexical_rank": hit.lexical_rank,
        "rerank_score": hit.rerank_score,
    }  # fmt: skip
