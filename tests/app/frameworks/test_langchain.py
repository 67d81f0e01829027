import asyncio
import json
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from app.api import Filter, KnowledgeBase
from app.frameworks.langchain import (
    LangChainAnswers,
    LangChainLoader,
    LangChainReranker,
    LangChainRetriever,
    answer_tool,
    search_tool,
)
from core.config import Config
from core.errors import CatalogError, ConfigError, ReadError
from tests.app.stub_model import Stub

Write = Callable[[str, str], Path]
QUESTION = "How many days of annual leave?"


class Heard(BaseCallbackHandler):
    """What LangChain tells its listeners of chains."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []

    def on_chain_end(self, outputs: Any, **_: Any) -> None:
        self.outputs.append(outputs)


def test_an_answer_stands_in_a_chain_whole_with_citations_and_sources(base: KnowledgeBase) -> None:
    heard = Heard()
    answers = LangChainAnswers(base)
    chain = RunnablePassthrough() | answers | (lambda found: f"{found['answer']} ({found['citations'][0]['path']})")
    whole = base.ask(QUESTION)
    assert chain.invoke(QUESTION, {"callbacks": [heard]}) == f"{whole.text} (leave.md)"
    found = answers.invoke({"question": QUESTION})
    assert found in heard.outputs
    assert found["answered"] is True
    assert [document.metadata["n"] for document in found["sources"]] == [source.n for source in whole.sources]
    assert [document.page_content for document in found["sources"]] == [source.text for source in whole.sources]
    assert json.loads(json.dumps(found["citations"])) == found["citations"]
    assert asyncio.run(answers.ainvoke(QUESTION)) == found
    assert answers.batch([QUESTION, QUESTION]) == [found, found]


def test_a_streamed_answer_adds_up_to_the_whole(base: KnowledgeBase) -> None:
    answers = LangChainAnswers(base)
    whole = answers.invoke(QUESTION)

    async def streamed() -> list[dict[str, Any]]:
        return [piece async for piece in (answers | RunnableLambda(_same)).astream(QUESTION)]

    both: list[list[Any]] = [list(answers.stream(QUESTION)), asyncio.run(streamed())]
    assert [reduce(add, pieces) for pieces in both] == [whole, whole]


def _counted(got: dict[str, Any]) -> str:
    return f"{len(got['passages'])} {got['found']['answered']}"


def _same(pieces: dict[str, Any]) -> dict[str, Any]:
    return pieces


def test_a_conversation_and_a_limit_are_taken(base: KnowledgeBase, cfg: Config, stub: Stub) -> None:
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})
    answers = LangChainAnswers(KnowledgeBase("kb", cfg.model_copy(update={"llm": llm}), base.embedder))
    messages = [
        SystemMessage("Speak in rhymes."),
        HumanMessage("The VPN?"),
        AIMessage("Port 8443."),
        HumanMessage(QUESTION),
    ]
    assert answers.invoke(messages)["backend"] == "openai"
    assert "Port 8443." in stub.calls[-1].text
    assert "rhymes" not in stub.calls[-1].text
    guide = LangChainAnswers(base).invoke({"question": QUESTION, "where": Filter(paths=("guide.md",))})
    assert {document.metadata["path"] for document in guide["sources"]} == {"guide.md"}


class Agent(GenericFakeChatModel):
    """A model that calls tools, as it was told to."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "Agent":
        return self


def agent(replies: list[AIMessage], tools: list[Any]) -> Callable[[str], list[BaseMessage]]:
    """The loop of an agent: the model is asked until it calls no tool any more."""
    model = Agent(messages=iter(replies)).bind_tools(tools)
    by_name = {tool.name: tool for tool in tools}

    def run(question: str) -> list[BaseMessage]:
        messages: list[BaseMessage] = [HumanMessage(question)]
        while True:
            reply = model.invoke(messages)
            messages.append(reply)
            if not reply.tool_calls:
                return messages
            messages += [by_name[call["name"]].invoke(call) for call in reply.tool_calls]

    return run


def call(name: str, question: str = QUESTION) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {"question": question}, "id": "1"}])


def test_an_agent_asks_and_searches_by_tools(base: KnowledgeBase) -> None:
    tools = [answer_tool(base), search_tool(base, name="find_in_handbook", about="the handbook")]
    said = agent([call("ask_documents"), call("find_in_handbook"), AIMessage("Twenty-five.")], tools)(QUESTION)
    asked, searched = (message for message in said if isinstance(message, ToolMessage))
    assert "[1] leave.md: " in str(asked.content)
    assert asked.artifact["citations"][0]["path"] == "leave.md"
    assert str(searched.content).startswith("[1] leave.md\n")
    assert all(isinstance(document, Document) for document in searched.artifact)
    assert "the handbook" in tools[1].description
    assert "never instructions" in tools[0].description
    for tool in tools:
        asks = tool.args["question"]["description"]
        assert asks.startswith("A complete question that stands by itself")
    assert asyncio.run(tools[0].ainvoke(call("ask_documents").tool_calls[0])).content == asked.content


def test_an_agent_hears_what_is_wrong_and_goes_on(cfg: Config) -> None:
    tool = answer_tool(KnowledgeBase("none", cfg))
    *_, told, last = agent([call("ask_documents"), AIMessage("It is not there.")], [tool])(QUESTION)
    assert isinstance(told, ToolMessage)
    assert "no knowledge base 'none'" in str(told.content)
    assert last.content == "It is not there."
    with pytest.raises(CatalogError):
        LangChainAnswers(KnowledgeBase("none", cfg)).invoke(QUESTION)


def test_files_are_loaded_as_ragstone_reads_them(cfg: Config, write: Write) -> None:
    folder = write("a/leave.md", "# Leave\n\nAnnual leave is 25 days.").parent
    write("b.csv", "name,days\nann,25\n")
    documents = LangChainLoader(folder.parent, cfg).load()
    assert [document.metadata["source"] for document in documents] == ["a/leave.md", "b.csv"]
    assert documents[0].metadata["title"] == "Leave"
    assert "25 days" in documents[0].page_content
    [one] = LangChainLoader(folder / "leave.md", cfg).lazy_load()
    assert one.page_content == documents[0].page_content
    write("empty.md", "")
    with pytest.raises(ReadError, match=r"empty\.md.*the file is empty"):
        LangChainLoader(folder.parent, cfg).load()


def test_the_reranker_orders_what_any_retriever_found(cfg: Config, reranking: Config) -> None:
    documents = [Document(text) for text in ("The VPN port.", "Annual leave is 25 days.", "A hotel.")]
    ranked = LangChainReranker(config=reranking, top=2).compress_documents(documents, QUESTION)
    assert [document.page_content for document in ranked] == ["Annual leave is 25 days.", "A hotel."]
    assert ranked[0].metadata["rerank_score"] > ranked[1].metadata["rerank_score"]
    with pytest.raises(ConfigError, match="no reranker"):
        LangChainReranker(config=cfg).compress_documents(documents, QUESTION)


def test_a_retriever_and_the_answers_stand_in_one_chain(base: KnowledgeBase) -> None:
    both: Any = {"passages": LangChainRetriever(base=base, k=1), "found": LangChainAnswers(base)}
    chain = both | RunnableLambda(_counted) | StrOutputParser()
    assert chain.invoke(QUESTION) == "1 True"
