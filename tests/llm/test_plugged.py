"""A chat model of LangChain in place of a server; the server that it speaks to is a stub."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from app.answering.backend import resolve
from app.api import KnowledgeBase
from core.config import Config, LlmConfig
from core.errors import ConfigError, ModelError
from llm import chat
from llm.plugged import endpoint_of
from llm.thinking import Thought
from retrieval.embed import Embedder
from tests.app.stub_model import Reply, Stub, serving
from tests.retrieval.corpus import DOCUMENTS, build

CLOSED: list[int] = []  # the longest answer of each model whose stream ended
ASKED: list[BaseMessage] = [HumanMessage("How many days of leave?")]


class Chunks(GenericFakeChatModel):
    """Streams what it was made with; an exception is raised, a number waited for, in seconds."""

    messages: Any = None
    chunks: list[Any]
    max_tokens: int = 0

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        try:
            for each in self.chunks:
                if isinstance(each, (int, float)):
                    await asyncio.sleep(each)
                elif each == "fail":
                    raise RuntimeError("quota")
                else:
                    yield ChatGenerationChunk(message=AIMessageChunk(**each))
        finally:
            CLOSED.append(self.max_tokens)


def configured(*chunks: Any, **keys: Any) -> LlmConfig:
    return LlmConfig(chat=f"langchain:{__name__}:Chunks", chat_settings={"chunks": list(chunks)}, **keys)


def said(cfg: LlmConfig) -> list[chat.Piece]:
    async def pieces() -> list[chat.Piece]:
        async with aclosing(chat.stream(endpoint_of(cfg), cfg, ASKED)) as stream:
            return [piece async for piece in stream]

    return asyncio.run(pieces())


def test_thoughts_are_told_apart_and_the_reason_of_the_end_is_kept() -> None:
    found = said(
        configured(
            {"content": "", "additional_kwargs": {"reasoning_content": "hm"}},
            {"content": [{"type": "thinking", "thinking": "so"}]},
            {"content": "25 "}, {"content": [{"type": "text", "text": "days"}]},
            {"content": "", "response_metadata": {"stop_reason": "max_tokens"}},
        )
    )  # fmt: skip
    assert [piece.text for piece in found if isinstance(piece, Thought)] == ["hm", "so"]
    assert "".join(piece for piece in found if isinstance(piece, str)) == "25 days"
    assert found[-1] == chat.Finish("length")
    assert said(configured({"content": "<think>hm</think>25"}))[-1] == chat.Finish("stop")


def test_what_it_raises_and_what_it_does_not_write_are_errors_that_name_it() -> None:
    with pytest.raises(ModelError, match="test_plugged:Chunks failed: RuntimeError: quota"):
        said(configured({"content": "25"}, "fail"))
    with pytest.raises(ModelError, match="wrote no answer"):
        said(configured({"content": " "}))
    with pytest.raises(ModelError, match=r"did not answer within 0\.05 s"):
        said(configured({"content": "25"}, 20, timeout_s=0.05))


def test_closing_the_stream_closes_the_models_own() -> None:
    cfg = configured({"content": "25 "}, 60, max_tokens=77)

    async def stopped() -> None:
        async with aclosing(chat.stream(endpoint_of(cfg), cfg, ASKED)) as stream:
            async for piece in stream:
                if piece == "25 ":
                    return

    CLOSED.clear()
    asyncio.run(stopped())
    assert CLOSED == [77]


def test_no_variable_of_the_environment_has_it_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    import langsmith.utils
    from langchain_core.tracers import langchain as tracer

    made: list[Any] = []

    def refused(*asked: Any, **_: Any) -> None:
        made.append(asked)
        raise OSError("no tracing in tests")

    known: Any = langsmith.utils.get_env_var
    known.cache_clear()
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setattr(tracer.LangChainTracer, "__init__", refused)
    try:
        assert said(configured({"content": "25"}))[-1] == chat.Finish("stop")
        assert made == []
        GenericFakeChatModel(messages=iter(["25"])).invoke("x")
        assert made  # where nobody keeps it away
    finally:
        known.cache_clear()


def test_the_backend_is_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = asyncio.run(resolve(configured({"content": "25"})))
    assert (backend.name, backend.model) == ("chat", "Chunks")
    assert asyncio.run(resolve(configured(backend="extractive"))).endpoint is None
    with pytest.raises(ConfigError, match=r"needs llm\.chat"):
        asyncio.run(resolve(LlmConfig(backend="chat")))
    with pytest.raises(ConfigError, match="names no chat model"):
        asyncio.run(resolve(LlmConfig(chat="plugin:x")))


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


def test_chat_openai_of_langchain_answers_with_checked_citations(
    cfg: Config, embedder: Embedder, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("ACME_KEY", "sk-acme")
    stub.reply = Reply(pieces=("<think>look</think>", "Leave is 25 days [1] ", "and more [9]."))
    told = {"model": "stub-model", "base_url": stub.base_url, "api_key": {"env": "ACME_KEY"}}
    llm = LlmConfig(chat="langchain:langchain_openai:ChatOpenAI", chat_settings=told, max_tokens=321)
    build(cfg, embedder, DOCUMENTS).close()
    with KnowledgeBase("kb", cfg.model_copy(update={"llm": llm}), embedder) as base:
        answer = base.ask("How many days of annual leave?")
    assert "25 days [1]" in answer.text
    assert "[9]" not in answer.text
    assert [citation.n for citation in answer.citations] == [1]
    assert (answer.thoughts, answer.finish, answer.backend, answer.model) == ("look", "stop", "chat", "stub-model")
    (call,) = stub.answers()
    assert call.key.endswith("sk-acme")
    assert call.body["stream"] is True
    assert 321 in (call.body.get("max_tokens"), call.body.get("max_completion_tokens"))
