import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.api import Filter, KnowledgeBase
from core.config import Config
from core.errors import CatalogError, ConfigError
from tests.needs import later

if TYPE_CHECKING:
    from llama_index.core import llms, query_engine, schema, tools

    from app.frameworks import llama_index as ours
else:
    ours = later("app.frameworks.llama_index")
    llms, query_engine, schema, tools = (
        later(f"llama_index.core.{name}") for name in ("llms", "query_engine", "schema", "tools")
    )

Write = Callable[[str, str], Path]
QUESTION = "How many days of annual leave?"


def test_an_engine_answers_with_citations_and_source_nodes(base: KnowledgeBase) -> None:
    whole = base.ask(QUESTION)
    engine = ours.LlamaIndexAnswers(base=base)
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert str(response) == whole.text
        assert [found.metadata["n"] for found in response.source_nodes] == [source.n for source in whole.sources]
        assert [found.text for found in response.source_nodes] == [source.text for source in whole.sources]
        assert response.metadata is not None
        assert response.metadata["answered"] is True
        assert response.metadata["citations"][0]["path"] == "leave.md"
    limited = ours.LlamaIndexAnswers(base=base, where=Filter(paths=("guide.md",)))
    assert {found.metadata["path"] for found in limited.query(QUESTION).source_nodes} == {"guide.md"}


def test_an_engine_is_a_tool_and_tells_what_is_wrong(base: KnowledgeBase, cfg: Config) -> None:
    tool = tools.QueryEngineTool.from_defaults(ours.LlamaIndexAnswers(base=base), name="handbook")
    assert tool.call(QUESTION).content == base.ask(QUESTION).text
    with pytest.raises(CatalogError, match="no knowledge base 'none'"):
        ours.LlamaIndexAnswers(base=KnowledgeBase("none", cfg)).query(QUESTION)


def test_files_are_read_as_ragstone_reads_them(cfg: Config, write: Write) -> None:
    folder = write("a/leave.md", "# Leave\n\nAnnual leave is 25 days.").parent.parent
    [document] = ours.LlamaIndexReader(cfg).load_data(folder)
    assert "25 days" in document.text
    assert (document.metadata["source"], document.metadata["title"]) == ("a/leave.md", "Leave")


def test_the_reranker_orders_the_nodes_of_an_engine(base: KnowledgeBase, cfg: Config, reranking: Config) -> None:
    nodes = [
        schema.NodeWithScore(node=schema.TextNode(text=text)) for text in ("The VPN port.", "Annual leave is 25 days.")
    ]
    ranked = ours.LlamaIndexReranker(config=reranking, top=1).postprocess_nodes(nodes, query_str=QUESTION)
    assert [found.text for found in ranked] == ["Annual leave is 25 days."]
    reranker = ours.LlamaIndexReranker(config=reranking, top=1)
    engine = query_engine.RetrieverQueryEngine.from_args(
        ours.LlamaIndexRetriever(base), llm=llms.MockLLM(), response_mode="compact", node_postprocessors=[reranker]  # type: ignore[arg-type]
    )  # fmt: skip
    assert len(engine.query(QUESTION).source_nodes) == 1
    with pytest.raises(ConfigError, match="no reranker"):
        ours.LlamaIndexReranker(config=cfg).postprocess_nodes(nodes, query_str=QUESTION)
