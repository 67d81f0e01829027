import asyncio
import json
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from app.answering import find
from app.api import KnowledgeBase
from app.frameworks.langchain import LangChainRetriever
from app.frameworks.shared import ordering
from app.keeping.index import run
from core.config import Config
from core.errors import CatalogError, ModelError
from core.types import Hit
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.search import retrieve
from tests.needs import later
from tests.retrieval.corpus import DOCUMENTS, build

if TYPE_CHECKING:
    from llama_index.core import llms, query_engine, schema

    from app.frameworks import llama_index as ours
else:
    ours = later("app.frameworks.llama_index")
    llms, query_engine, schema = (later(f"llama_index.core.{name}") for name in ("llms", "query_engine", "schema"))

QUESTION = "How many days of annual leave?"


@pytest.fixture
def hits(base: KnowledgeBase) -> list[Hit]:
    return base.search(QUESTION).hits


def assert_told(metadata: dict[str, Any], hit: Hit) -> None:
    """The metadata say of a hit what a caller needs to cite it and to see why it was found."""
    assert metadata["headings"] == list(hit.headings)
    names = "path folder title page start end chunk_id language rank score dense_rank lexical_rank rerank_score".split()
    assert {name: metadata[name] for name in names} == {name: getattr(hit, name) for name in names}
    assert json.loads(json.dumps(metadata)) == metadata


class Overheard(BaseCallbackHandler):
    """What LangChain tells its listeners: the documents that were found and the prompt that was sent."""

    def __init__(self) -> None:
        self.documents: Sequence[Document] = ()
        self.prompt = ""

    def on_retriever_end(self, documents: Sequence[Document], **_: Any) -> None:
        self.documents = documents

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **_: Any) -> None:
        self.prompt = "\n".join(str(message.content) for message in messages[0])


def test_a_langchain_chain_answers_from_the_knowledge_base(base: KnowledgeBase, hits: list[Hit]) -> None:
    retriever = LangChainRetriever(base=base)
    overheard = Overheard()
    chain = (
        {"context": retriever | numbered, "question": RunnablePassthrough()}
        | ChatPromptTemplate([("system", "Answer from these passages:\n{context}"), ("human", "{question}")])
        | GenericFakeChatModel(messages=iter([AIMessage("Twenty-five days [1].")]))
        | StrOutputParser()
    )
    assert chain.invoke(QUESTION, {"callbacks": [overheard]}) == "Twenty-five days [1]."
    assert f"[1] leave.md: {DOCUMENTS['leave.md']}" in overheard.prompt
    assert [d.page_content for d in overheard.documents] == [hit.text for hit in hits]
    for document, hit in zip(overheard.documents, hits, strict=True):
        assert document.id == f"kb/{hit.chunk_id}"
        assert_told(document.metadata, hit)


def numbered(documents: list[Document]) -> str:
    return "\n".join(f"[{i}] {d.metadata['path']}: {d.page_content}" for i, d in enumerate(documents, start=1))


def test_langchain_settings_stay_out_of_what_is_traced(cfg: Config) -> None:
    secret = cfg.model_copy(update={"retrieval": cfg.retrieval.model_copy(update={"rerank_key": "sk-very-secret"})})
    retriever = LangChainRetriever(base=KnowledgeBase("kb", secret), tags=["kb"])
    assert "sk-very-secret" not in repr(retriever) + str(retriever) + retriever.model_dump_json()
    assert retriever.tags == ["kb"]


def test_a_llama_index_engine_answers_from_the_knowledge_base(base: KnowledgeBase, hits: list[Hit]) -> None:
    retriever = ours.LlamaIndexRetriever(base)
    engine = query_engine.RetrieverQueryEngine.from_args(retriever, llm=llms.MockLLM(), response_mode="compact")  # type: ignore[arg-type]
    response = engine.query(QUESTION)  # the model says its prompt again
    assert f"path: leave.md\n\n{DOCUMENTS['leave.md']}" in str(response)
    assert QUESTION in str(response)
    for found, hit in zip(response.source_nodes, hits, strict=True):
        node = found.node
        assert isinstance(node, schema.TextNode)
        assert (node.node_id, node.text, found.score) == (f"kb/{hit.chunk_id}", hit.text, hit.score)
        assert (node.start_char_idx, node.end_char_idx) == (hit.start, hit.end)
        assert_told(node.metadata, hit)


def test_a_llama_index_model_sees_where_a_passage_stands_and_no_more(cfg: Config, embedder: Embedder) -> None:
    build(cfg, embedder, {"leave.md": DOCUMENTS["leave.md"]}).close()
    [found] = ours.LlamaIndexRetriever(KnowledgeBase("kb", cfg, embedder)).retrieve(QUESTION)
    for mode in (schema.MetadataMode.LLM, schema.MetadataMode.EMBED):
        assert found.node.get_content(mode) == f"path: leave.md\n\n{DOCUMENTS['leave.md']}"


def test_async_searches_run_beside_the_loop_and_find_the_same(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def watched(*args: Any, **named: Any) -> Any:
        threads.append(threading.current_thread())
        return retrieve(*args, **named)

    monkeypatch.setattr(find, "retrieve", watched)
    chained, noded = LangChainRetriever(base=base), ours.LlamaIndexRetriever(base)

    async def both() -> tuple[list[Document], list[Any]]:
        return await chained.ainvoke(QUESTION), await noded.aretrieve(QUESTION)

    documents, nodes = asyncio.run(both())
    assert threads
    assert threading.current_thread() not in threads
    assert documents == chained.invoke(QUESTION)
    assert [n.node for n in nodes] == [n.node for n in noded.retrieve(QUESTION)]


def test_limits_are_given_once_or_with_a_call(base: KnowledgeBase, hits: list[Hit]) -> None:
    assert len(hits) > 2
    guide = Filter(paths=("guide.md",))
    chained = LangChainRetriever(base=base, k=2)
    assert [d.metadata["rank"] for d in chained.invoke(QUESTION)] == [1, 2]
    assert [d.metadata["rank"] for d in chained.invoke(QUESTION, k=1)] == [1]
    assert [d.metadata["path"] for d in asyncio.run(chained.ainvoke(QUESTION, where=guide))] == ["guide.md"]
    noded = ours.LlamaIndexRetriever(base, k=2)
    assert len(noded.retrieve(QUESTION)) == 2
    assert [n.metadata["path"] for n in noded.limited(where=guide).retrieve(QUESTION)] == ["guide.md"]


def test_it_is_retrieved_within_a_running_loop_as_in_a_notebook(base: KnowledgeBase, hits: list[Hit]) -> None:
    async def cell() -> list[str]:
        return [document.page_content for document in LangChainRetriever(base=base).invoke(QUESTION)]

    assert asyncio.run(cell()) == [hit.text for hit in hits]


def test_a_configured_reranker_is_asked_and_its_errors_reach_the_caller(base: KnowledgeBase, cfg: Config) -> None:
    settings = cfg.retrieval.model_copy(update={"rerank_url": "http://127.0.0.1:1"})
    unreachable = KnowledgeBase("kb", cfg.model_copy(update={"retrieval": settings}), base.embedder)
    chained, noded = LangChainRetriever(base=unreachable), ours.LlamaIndexRetriever(unreachable)
    for search_ in (chained.invoke, noded.retrieve):
        with pytest.raises(ModelError, match="no rerank server answers"):
            search_(QUESTION)
    for search_ in (chained.ainvoke, noded.aretrieve):
        with pytest.raises(ModelError, match="no rerank server answers"):
            asyncio.run(search_(QUESTION))


def test_the_score_orders_what_a_reranker_ordered(base: KnowledgeBase, reranking: Config) -> None:
    some = reranking.retrieval.model_copy(update={"rerank_top": 2})
    for settings in (reranking.retrieval, some):
        ordered = KnowledgeBase("kb", reranking.model_copy(update={"retrieval": settings}), base.embedder)
        found = LangChainRetriever(base=ordered).invoke(QUESTION)
        scores = [document.metadata["score"] for document in found]
        assert scores == sorted(scores, reverse=True)
        reranked = [d.metadata for d in found if d.metadata["rerank_score"] is not None]
        assert [told["score"] for told in reranked] == [told["rerank_score"] for told in reranked]
        assert reranked
        assert [node.score for node in ours.LlamaIndexRetriever(ordered).retrieve(QUESTION)] == scores
        fused = [hit.score for hit in ordered.search(QUESTION).hits]
        assert fused != scores


def test_no_passage_has_a_higher_score_than_the_one_before_it() -> None:
    def hit(rank: int, score: float, rerank: float | None) -> Hit:
        return Hit(rank, score, rank, "", "", "", None, (), 0, 1, "a", "en", 0, 1, rerank_score=rerank)

    newest, older, third, behind = hit(1, 0.2, 0.3), hit(2, 0.9, 0.8), hit(3, 0.5, 0.4), hit(4, 0.7, None)
    assert ordering([newest, older, third, behind]) == [0.8, 0.8, 0.4, 0.3]
    assert ordering([behind, newest]) == [0.3, 0.3]
    assert ordering([hit(1, 0.9, None), hit(2, 0.5, None)]) == [0.9, 0.5]


def test_what_the_folder_says_after_a_rebuild_is_what_is_found(cfg: Config, write: Any) -> None:
    folder = write("leave.md", "Annual leave is 25 days.").parent
    run(cfg, "kb", [folder])
    own = {"app.data": cfg.app.data, "llm.backend": "extractive"}
    chained = LangChainRetriever.open("kb", settings=own)
    noded = ours.LlamaIndexRetriever.open("kb", settings=own)
    assert "25 days" in chained.invoke(QUESTION)[0].page_content
    write("leave.md", "Annual leave is 30 days.")
    run(cfg, "kb", [folder], rebuild=True)
    assert [d.page_content for d in chained.invoke(QUESTION)] == ["Annual leave is 30 days."]
    assert [n.text for n in noded.retrieve(QUESTION)] == ["Annual leave is 30 days."]


@pytest.mark.parametrize("kind", ["LangChainRetriever", "LlamaIndexRetriever"])
def test_an_absent_knowledge_base_is_one_message(kind: str, cfg: Config) -> None:
    retriever = LangChainRetriever if kind == "LangChainRetriever" else ours.LlamaIndexRetriever
    with pytest.raises(CatalogError, match="no knowledge base 'none'"):
        retriever.open("none", settings={"app.data": cfg.app.data})
