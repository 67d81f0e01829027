"""A knowledge base in LlamaIndex: a retriever, a query engine that answers, our readers and reranker."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import Response
from llama_index.core.bridge.pydantic import Field
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document, MetadataMode, NodeWithScore, QueryBundle, TextNode

from app.api import KnowledgeBase
from app.frameworks.shared import files, identity, metadata, of_file, opened, ordering, told
from core.config import Config, load
from core.errors import ConfigError
from core.types import Answer, Hit
from retrieval.filters import Filter
from retrieval.rerank import reranker_of

_FOR_MODELS = ("path", "page", "headings")  # of the metadata, what a language model is shown


class LlamaIndexRetriever(BaseRetriever):
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
        return cls(opened(name, config, settings), **limits)

    def limited(self, *, k: int | None = None, where: Filter | None = None) -> "LlamaIndexRetriever":
        """The same with other limits, for a call that needs them."""
        return LlamaIndexRetriever(self.base, k=k or self.k, where=where or self.where)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.base.search(query_bundle.query_str, k=self.k, where=self.where).hits
        return [_node(self.base, hit, score) for hit, score in zip(hits, ordering(hits), strict=True)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = (await self.base.asearch(query_bundle.query_str, k=self.k, where=self.where)).hits
        return [_node(self.base, hit, score) for hit, score in zip(hits, ordering(hits), strict=True)]


class LlamaIndexAnswers(CustomQueryEngine):
    """Answers with citations, as a query engine: `source_nodes` are the numbered passages (`n` in their metadata).

    The response's metadata have "answered", "citations" and who wrote it.
    """

    base: KnowledgeBase = Field(exclude=True, repr=False)
    where: Filter | None = None

    @classmethod
    def open(
        cls, name: str = "", *, config: Path | str | None = None, settings: Mapping[str, Any] | None = None,
        where: Filter | None = None,
    ) -> Self:  # fmt: skip
        """The answers of a knowledge base, which is opened as `KnowledgeBase.open` does. Raises `CatalogError`."""
        return cls(base=opened(name, config, settings), where=where)

    def custom_query(self, query_str: str) -> Response:
        """The whole answer."""
        return self._response(self.base.ask(query_str, where=self.where))

    async def acustom_query(self, query_str: str) -> Response:
        """The same, for asyncio."""
        return self._response(await self.base.aask(query_str, where=self.where))

    def _response(self, answer: Answer) -> Response:
        scores = ordering(source.hit for source in answer.sources)
        nodes = [_node(self.base, s.hit, score, s.text, n=s.n) for s, score in zip(answer.sources, scores, strict=True)]
        return Response(answer.text, source_nodes=nodes, metadata=told(answer))


class LlamaIndexReader(BaseReader):
    """The documents of a file or a folder, as Ragstone reads them: each in a process of its own, tables as text."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or load().config

    def lazy_load_data(self, path: Path | str) -> Iterable[Document]:  # type: ignore[override]
        """One document for each file, in order of path. Raises `ReadError` for the first that cannot be read."""
        for name, document in files(Path(path), self.config):
            yield Document(text=document.text, metadata=of_file(name, document))


class LlamaIndexReranker(BaseNodePostprocessor):
    """The configured reranker over the nodes of any retriever: the best `top` of them, by its scores."""

    config: Config = Field(default_factory=lambda: load().config, exclude=True, repr=False)
    top: int = 8

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker needs the question")
        reranker = reranker_of(self.config.retrieval)
        if reranker is None:
            raise ConfigError("no reranker is configured", "set retrieval.reranker or retrieval.rerank_url")
        texts = [found.node.get_content(MetadataMode.NONE) for found in nodes]
        scores = reranker.scored(query_bundle.query_str, texts).scores
        ranked = sorted(zip(scores, nodes, strict=True), key=lambda pair: -pair[0])
        return [NodeWithScore(node=found.node, score=score) for score, found in ranked[: self.top]]


def _node(base: KnowledgeBase, hit: Hit, score: float, text: str = "", **more: Any) -> NodeWithScore:
    """A passage, with the text around it where more than the hit was read."""
    said = metadata(hit, score) | more
    unseen = [name for name, value in said.items() if name not in _FOR_MODELS or not value]
    node = TextNode(
        id_=identity(base, hit), text=text or hit.text, metadata=said, start_char_idx=hit.start,
        end_char_idx=hit.end, excluded_llm_metadata_keys=unseen, excluded_embed_metadata_keys=unseen,
    )  # fmt: skip
    return NodeWithScore(node=node, score=score)
