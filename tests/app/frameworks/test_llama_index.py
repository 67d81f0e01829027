import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import QueryEngineTool

from app.api import Filter, KnowledgeBase
from app.frameworks.llama_index import LlamaIndexAnswers, LlamaIndexReader, LlamaIndexReranker, LlamaIndexRetriever
from core.config import Config
from core.errors import CatalogError, ConfigError

Write = Callable[[str, str], Path]
QUESTION = "How many days of annual leave?"


def test_an_engine_answers_with_citations_and_source_nodes(base: KnowledgeBase) -> None:
    whole = base.ask(QUESTION)
    engine = LlamaIndexAnswers(base=base)
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert str(response) == whole.text
        assert [found.metadata["n"] for found in response.source_nodes] == [source.n for source in whole.sources]
        assert [found.text for found in response.source_nodes] == [source.text for source in whole.sources]
        assert response.metadata is not None
        assert response.metadata["answered"] is True
        assert response.metadata["citations"][0]["path"] == "leave.md"
    limited = LlamaIndexAnswers(base=base, where=Filter(paths=("guide.md",)))
    assert {found.metadata["path"] for found in limited.query(QUESTION).source_nodes} == {"guide.md"}


def test_an_engine_is_a_tool_and_tells_what_is_wrong(base: KnowledgeBase, cfg: Config) -> None:
    tool = QueryEngineTool.from_defaults(LlamaIndexAnswers(base=base), name="handbook")
    assert tool.call(QUESTION).content == base.ask(QUESTION).text
    with pytest.raises(CatalogError, match="no knowledge base 'none'"):
        LlamaIndexAnswers(base=KnowledgeBase("none", cfg)).query(QUESTION)


def test_files_are_read_as_ragstone_reads_them(cfg: Config, write: Write) -> None:
    folder = write("a/leave.md", "# Leave\n\nAnnual leave is 25 days.").parent.parent
    [document] = LlamaIndexReader(cfg).load_data(folder)
    assert "25 days" in document.text
    assert (document.metadata["source"], document.metadata["title"]) == ("a/leave.md", "Leave")


def test_the_reranker_orders_the_nodes_of_an_engine(base: KnowledgeBase, cfg: Config, reranking: Config) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("The VPN port.", "Annual leave is 25 days.")]
    ranked = LlamaIndexReranker(config=reranking, top=1).postprocess_nodes(nodes, query_str=QUESTION)
    assert [found.text for found in ranked] == ["Annual leave is 25 days."]
    reranker = LlamaIndexReranker(config=reranking, top=1)
    engine = RetrieverQueryEngine.from_args(
        LlamaIndexRetriever(base), llm=MockLLM(), response_mode="compact", node_postprocessors=[reranker]  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(engine.query(QUESTION).source_nodes) == 1
    with pytest.raises(ConfigError, match="no reranker"):
        LlamaIndexReranker(config=cfg).postprocess_nodes(nodes, query_str=QUESTION)
