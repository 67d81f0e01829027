"""llama-index and LangChain on their defaults, over an embedder of ours.

Every retriever is asked for so many chunks that 100 documents can be judged; their default is 2 or 4.

- llama-index: `SentenceSplitter()` (1024 tokens, overlap 200; the title as metadata, which it embeds),
  `VectorStoreIndex` with its in-memory store, and `QueryFusionRetriever` in its default mode (simple) and in
  reciprocal_rerank. num_queries is 1: its default of 4 needs a language model. Its BM25 retriever is a package of its
  own; the one here does the same over bm25s: English stop words and stemmer, words of two or more characters.
- LangChain: `RecursiveCharacterTextSplitter()` (4,000 characters, overlap 200; the title on top of the text),
  `InMemoryVectorStore`, and `EnsembleRetriever` (weighted RRF, c = 60, equal weights), both from langchain-classic.
  Its BM25 retriever is a part of langchain-community; the one here does the same over rank_bm25: split at white space.
- bm25s and rank_bm25 alone, over the chunks of each.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bm25s
import Stemmer
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as Page
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever as ChainRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document as Paper
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import PrivateAttr
from rank_bm25 import BM25Okapi

from retrieval.embed import Embedder

DEPTH = 300  # chunks a retriever brings; 100 documents are judged

Rank = Callable[[str], Sequence[str]]  # a question -> ids of documents, best first


@dataclass(frozen=True, slots=True)
class Row:
    """A document of a corpus."""

    id: str
    title: str
    text: str


class PaperEmbedding(BaseEmbedding):
    """Our embedder as llama-index wants it."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name=embedder.name, embed_batch_size=1024)
        self._embedder = embedder

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_passages(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.embed_query(query).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class PaperWords(BaseRetriever):
    """BM25 over nodes as llama-index's own package sets bm25s up by default."""

    def __init__(self, nodes: Sequence[BaseNode]) -> None:
        self.nodes = nodes
        self.stemmer = Stemmer.Stemmer("english")
        self.bm25 = bm25s.BM25()
        self.bm25.index(self._tokens([n.get_content(MetadataMode.EMBED) for n in nodes]), show_progress=False)
        super().__init__()

    def _tokens(self, texts: str | list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="english", stemmer=self.stemmer, show_progress=False)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        k = min(DEPTH, len(self.nodes))
        places, scores = self.bm25.retrieve(self._tokens(query_bundle.query_str), k=k, show_progress=False)
        found = zip(places[0], scores[0], strict=True)
        return [NodeWithScore(node=self.nodes[int(i)], score=float(score)) for i, score in found]


def llama_index(documents: Sequence[Row], embedder: Embedder) -> dict[str, Rank]:
    """`QueryFusionRetriever` over vectors and BM25, in its default mode and with reciprocal rank fusion."""
    papers = [Paper(text=row.text, id_=row.id, metadata={"title": row.title}) for row in documents]
    nodes = SentenceSplitter().get_nodes_from_documents(papers)
    embedder.embed_passages([node.get_content(MetadataMode.EMBED) for node in nodes])  # in one go: less padding
    index = VectorStoreIndex(nodes, embed_model=PaperEmbedding(embedder))
    words = PaperWords(nodes)
    retrievers = [index.as_retriever(similarity_top_k=DEPTH), words]

    def rank(mode: FUSION_MODES) -> Rank:
        fusion = QueryFusionRetriever(
            retrievers, llm=MockLLM(), mode=mode, similarity_top_k=DEPTH, num_queries=1
        )  # the LLM writes no query variants here, but one must be named
        return lambda question: [hit.node.ref_doc_id or "" for hit in fusion.retrieve(question)]

    return {
        "bm25s": lambda question: [hit.node.ref_doc_id or "" for hit in words.retrieve(question)],
        "llama-index fusion (simple)": rank(FUSION_MODES.SIMPLE),
        "llama-index fusion (RRF)": rank(FUSION_MODES.RECIPROCAL_RANK),
    }


class PageEmbedding(Embeddings):
    """Our embedder as LangChain wants it."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of passages."""
        return self.embedder.embed_passages(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Vector of a question."""
        return self.embedder.embed_query(text).tolist()


class PageWords(ChainRetriever):
    """BM25 over pages as LangChain's community package sets rank_bm25 up by default."""

    pages: list[Page]
    bm25: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Page]:
        return self.bm25.get_top_n(query.split(), self.pages, n=DEPTH)


def langchain(documents: Sequence[Row], embedder: Embedder) -> dict[str, Rank]:
    """`EnsembleRetriever` over vectors and BM25."""
    classic = importlib.import_module("langchain_classic.retrievers")
    splitter = importlib.import_module("langchain_text_splitters").RecursiveCharacterTextSplitter()
    whole = [Page(page_content=f"{row.title}\n\n{row.text}".strip(), metadata={"id": row.id}) for row in documents]
    pages: list[Page] = splitter.split_documents(whole)
    store = InMemoryVectorStore(PageEmbedding(embedder))
    store.add_documents(pages)
    words = PageWords(pages=pages, bm25=BM25Okapi([page.page_content.split() for page in pages]))
    vectors = store.as_retriever(search_kwargs={"k": DEPTH})
    ensemble = classic.EnsembleRetriever(retrievers=[words, vectors])
    return {
        "rank_bm25": lambda question: [page.metadata["id"] for page in words.invoke(question)],
        "LangChain ensemble": lambda question: [page.metadata["id"] for page in ensemble.invoke(question)],
    }
