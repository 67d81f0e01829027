"""A knowledge base as a part of other frameworks: a retriever for LangChain, a retriever for LlamaIndex.

Both find what `ragstone search` finds, and that is what the folder says now.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import ConfigDict, Field

from app.api import KnowledgeBase
from core.types import Hit
from retrieval.filters import Filter

_FOR_MODELS = ("path", "page", "headings")  # of the metadata, what LlamaIndex shows a language model


class LangChainRetriever(LangChainBase):
    """Documents for a question, best first; `metadata` says where each stands in its file and how it was found.

    `k` and `where` limit what is found; both may be given with a call as well: `invoke(question, k=3)`. Raises
    `CatalogError` and `ModelError` as the search does.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    base: KnowledgeBase = Field(exclude=True, repr=False)  # it holds keys, and traces show what repr does
    k: int | None = None
    where: Filter | None = None

    @classmethod
    def open(
        cls, name: str = "", *, config: Path | str | None = None, settings: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> Self:  # fmt: skip
        """The retriever of a knowledge base, which is opened as `KnowledgeBase.open` does. Raises `CatalogError`."""
        return cls(base=_opened(name, config, settings), **limits)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None,
        where: Filter | None = None,
    ) -> list[Document]:  # fmt: skip
        hits = self.base.search(query, k=k or self.k, where=where or self.where).hits
        return [_document(self.base, hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None,
        where: Filter | None = None,
    ) -> list[Document]:  # fmt: skip
        hits = (await self.base.asearch(query, k=k or self.k, where=where or self.where)).hits
        return [_document(self.base, hit) for hit in hits]


class LlamaIndexRetriever(LlamaIndexBase):
    """Nodes for a question, best first; `metadata` says where each stands in its file and how it was found.

    `k` and `where` limit what is found; `limited` gives a retriever with others. Raises `CatalogError` and `ModelError`
    as the search does.
    """

    def __init__(self, base: KnowledgeBase, *, k: int | None = None, where: Filter | None = None) -> None:
        super().__init__()
        self.base, self.k, self.where = base, k, where

    @classmethod
    def open(
        cls, name: str = "", *, config: Path | str | None = None, settings: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> Self:  # fmt: skip
        """The retriever of a knowledge base, which is opened as `KnowledgeBase.open` does. Raises `CatalogError`."""
        return cls(_opened(name, config, settings), **limits)

    def limited(self, *, k: int | None = None, where: Filter | None = None) -> "LlamaIndexRetriever":
        """The same with other limits, for a call that needs them."""
        return LlamaIndexRetriever(self.base, k=k or self.k, where=where or self.where)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.base.search(query_bundle.query_str, k=self.k, where=self.where).hits
        return [_node(self.base, hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = (await self.base.asearch(query_bundle.query_str, k=self.k, where=self.where)).hits
        return [_node(self.base, hit) for hit in hits]


def _opened(name: str, config: Path | str | None, settings: Mapping[str, Any] | None) -> KnowledgeBase:
    """An open knowledge base: one that is not there is told at once, not at the first question."""
    base = KnowledgeBase.open(name, config=config, settings=settings)
    _ = base.index
    return base


def _document(base: KnowledgeBase, hit: Hit) -> Document:
    return Document(id=_id(base, hit), page_content=hit.text, metadata=_metadata(hit))


def _node(base: KnowledgeBase, hit: Hit) -> NodeWithScore:
    metadata = _metadata(hit)
    unseen = [name for name, value in metadata.items() if name not in _FOR_MODELS or not value]
    node = TextNode(
        id_=_id(base, hit), text=hit.text, metadata=metadata, start_char_idx=hit.start, end_char_idx=hit.end,
        excluded_llm_metadata_keys=unseen, excluded_embed_metadata_keys=unseen,
    )  # fmt: skip
    return NodeWithScore(node=node, score=hit.score)


def _id(base: KnowledgeBase, hit: Hit) -> str:
    """Names a chunk across knowledge bases, so that a fusion of several keeps what is not the same."""
    return f"{base.name}/{hit.chunk_id}"


def _metadata(hit: Hit) -> dict[str, Any]:
    """Plain data, the same for both frameworks; offsets are characters of the document's text, pages count from 1."""
    return {
        "path": hit.path, "folder": hit.folder, "title": hit.title, "page": hit.page, "headings": list(hit.headings),
        "start": hit.start, "end": hit.end, "chunk_id": hit.chunk_id, "language": hit.language, "stale": hit.stale,
        "rank": hit.rank, "score": hit.score, "dense_rank": hit.dense_rank, "lexical_rank": hit.lexical_rank,
        "rerank_score": hit.rerank_score,
    }  # fmt: skip
