"""An embedder and rerankers of LangChain and LlamaIndex, apart from their tests, since those load for seconds."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor


class Lengths(BaseEmbedding):
    """Vectors of LlamaIndex by the length of a text; a question's point elsewhere."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(len(text)), 1.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return [0.0, 2.0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class Shortest(BaseNodePostprocessor):
    """Keeps the two shortest nodes, the shortest first, without scores."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return sorted(nodes, key=lambda found: len(found.node.text))[:2]


class Scores(BaseDocumentCompressor):
    """Scores as rerankers of LangChain give them: log-odds here, of two documents."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> Sequence[Document]:
        kept = [
            each.model_copy(update={"metadata": each.metadata | {"relevance_score": 3.0 - n}})
            for n, each in enumerate(documents)
        ]
        return kept[1:]
