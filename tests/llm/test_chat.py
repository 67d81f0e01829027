"""The chat client against a small real server: what streams, what is left out, and what each failure is called."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from core.config import LlmConfig
from core.errors import ModelError
from llm.chat import Endpoint, probe, stream
from tests.app.running import free_port
from tests.app.stub_model import MODEL, Failure, Reply, Stub, serving

QUESTION: list[BaseMessage] = [HumanMessage("How many days?")]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


async def _all(pieces: AsyncGenerator[str, None]) -> list[str]:
    return [piece async for piece in pieces]


def said(stub: Stub, cfg: LlmConfig | None = None) -> list[str]:
    """What the stub's model says, piece by piece."""
    return asyncio.run(_all(stream(endpoint(stub), cfg or LlmConfig(), QUESTION)))


def endpoint(stub: Stub) -> Endpoint:
    return Endpoint(stub.base_url, MODEL, "a-key")


def failure(stub: Stub, kind: Failure, cfg: LlmConfig | None = None, pieces: tuple[str, ...] = ("One ",)) -> ModelError:
    stub.reply = Reply(pieces, failure=kind)
    with pytest.raises(ModelError) as caught:
        said(stub, cfg)
    return caught.value


def test_probe_finds_the_model_and_its_context(stub: Stub) -> None:
    found = asyncio.run(probe(stub.base_url, LlmConfig(api_key="a-key")))
    assert found == Endpoint(stub.base_url, MODEL, "a-key", 4096)
    assert asyncio.run(probe(stub.base_url + "/", LlmConfig(model=MODEL))).model == MODEL


def test_probe_of_a_model_that_is_not_served_names_those_that_are(stub: Stub) -> None:
    with pytest.raises(ModelError, match="'gpt-9'") as caught:
        asyncio.run(probe(stub.base_url, LlmConfig(model="gpt-9")))
    assert "llm.model" in caught.value.hint
    assert MODEL in caught.value.hint


def test_probe_where_nothing_listens_names_the_address_and_the_setting() -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(ModelError, match=address) as caught:
        asyncio.run(probe(address, LlmConfig()))
    assert "llm.base_url" in caught.value.hint
    assert caught.value.retryable


@pytest.mark.parametrize("address", ["127.0.0.1:8000/v1", "http://", "no address", "http://127.0.0.1:99999/v1"])
def test_probe_of_what_is_no_address_says_so(address: str) -> None:
    with pytest.raises(ModelError) as caught:
        asyncio.run(probe(address, LlmConfig()))
    assert address in caught.value.message
    assert "llm.base_url" in caught.value.hint


def test_probe_of_a_server_of_another_kind_says_what_the_address_should_be(stub: Stub) -> None:
    wrong = stub.base_url.removesuffix("/v1")
    with pytest.raises(ModelError, match=f"{wrong}/models answered HTTP 404") as caught:
        asyncio.run(probe(wrong, LlmConfig()))
    assert "/v1" in caught.value.hint


def test_a_refused_key_is_named_by_its_setting(stub: Stub) -> None:
    stub.reply = Reply(failure="refused")
    with pytest.raises(ModelError, match=stub.base_url) as caught:
        asyncio.run(probe(stub.base_url, LlmConfig(api_key="wrong")))
    assert "RAGSTONE_LLM__API_KEY" in caught.value.hint
    assert "RAGSTONE_LLM__API_KEY" in failure(stub, "refused").hint


def test_pieces_arrive_while_the_model_still_writes(stub: Stub) -> None:
    stub.reply = Reply([f"{i} " for i in range(40)], delay_s=0.05)

    async def first_seen_at() -> tuple[int, str]:
        async with aclosing(stream(endpoint(stub), LlmConfig(), QUESTION)) as pieces:
            first = await anext(pieces)
            sent = stub.calls[0].sent
            return sent, first + "".join([piece async for piece in pieces])

    sent, text = asyncio.run(first_seen_at())
    assert sent < 40
    assert text == "".join(f"{i} " for i in range(40))


def test_the_request_carries_key_model_and_sampling(stub: Stub) -> None:
    said(stub, LlmConfig(temperature=0.5, top_p=0.7, max_tokens=77))
    call = stub.calls[0]
    assert call.key == "a-key"
    assert call.body["messages"] == [{"role": "user", "content": "How many days?"}]
    assert (call.body["model"], call.body["stream"]) == (MODEL, True)
    assert (call.body["temperature"], call.body["top_p"]) == (0.5, 0.7)
    assert call.body.get("max_completion_tokens", call.body.get("max_tokens")) == 77


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["<think>", "Let me see", "</think>", "\n\nTwenty", " days"], "Twenty days"),
        (["<thi", "nk>hm</th", "ink>Twenty days"], "Twenty days"),
        (["\n<think>hm</think>\n", "Twenty days"], "Twenty days"),
        (["<", "b>Twenty", " days"], "<b>Twenty days"),
        (["a <think> later stays"], "a <think> later stays"),
        (["<thin"], "<thin"),
        (["<think>", "never ends"], ""),
    ],
)
def test_what_a_model_thinks_is_left_out(stub: Stub, pieces: list[str], text: str) -> None:
    stub.reply = Reply(pieces)
    assert "".join(said(stub)).strip() == text


def test_an_answer_cut_at_the_token_limit_shows_it(stub: Stub) -> None:
    stub.reply = Reply(("Twenty da",), finish="length")
    assert "".join(said(stub)) == "Twenty da …"


def test_closing_the_generator_ends_the_request_at_the_server(stub: Stub) -> None:
    stub.reply = Reply(["word "] * 2000, delay_s=0.02)

    async def leave_early() -> bool:
        pieces = stream(endpoint(stub), LlmConfig(), QUESTION)
        await anext(pieces)
        await pieces.aclose()
        return await asyncio.to_thread(stub.calls[0].left.wait, 10)

    assert asyncio.run(leave_early())
    assert stub.calls[0].sent < 1000


def test_a_cancelled_answer_ends_whenever_the_cancellation_comes(stub: Stub) -> None:
    stub.reply = Reply(["word "] * 500, delay_s=0.001)

    async def cancel_all() -> int:
        finished = 0
        for i in range(60):
            seen = asyncio.Event()

            async def read(seen: asyncio.Event = seen) -> None:
                async for _ in stream(endpoint(stub), LlmConfig(), QUESTION):
                    seen.set()

            task = asyncio.create_task(read())
            await seen.wait()
            await asyncio.sleep(i / 10_000)
            task.cancel()
            await asyncio.wait([task])
            finished += not task.cancelled()
        return finished

    assert asyncio.run(cancel_all()) == 0


def test_a_server_that_is_down_is_named(stub: Stub) -> None:
    gone = Endpoint(f"http://127.0.0.1:{free_port()}/v1", MODEL, "")
    with pytest.raises(ModelError, match=gone.base_url) as caught:
        asyncio.run(_all(stream(gone, LlmConfig(), QUESTION)))
    assert "llm.base_url" in caught.value.hint
    assert caught.value.retryable


def test_a_server_that_says_nothing_names_the_time_limit(stub: Stub) -> None:
    error = failure(stub, "stall", LlmConfig(timeout_s=0.3))
    assert error.message == f"{stub.base_url} did not answer within 0.3 s"
    assert "llm.timeout_s" in error.hint


def test_a_server_that_falls_silent_in_the_middle_names_the_time_limit(stub: Stub) -> None:
    stub.reply = Reply(("One ", "two "), delay_s=0.0)
    stub.reply = Reply(("One ", *["more "] * 3), delay_s=1.5)
    with pytest.raises(ModelError, match=r"within 0\.3 s") as caught:
        said(stub, LlmConfig(timeout_s=0.3))
    assert "llm.timeout_s" in caught.value.hint


def test_a_model_that_is_not_there_any_more_is_named(stub: Stub) -> None:
    error = failure(stub, "unknown_model")
    assert f"{stub.base_url} does not serve model {MODEL!r}" == error.message
    assert "llm.model" in error.hint


def test_a_prompt_that_does_not_fit_names_the_settings_that_make_it_smaller(stub: Stub) -> None:
    error = failure(stub, "overflow")
    assert "maximum context length is 512 tokens" in error.message
    assert "retrieval.context_tokens" in error.hint
    assert "llm.max_tokens" in error.hint
    assert not error.retryable


def test_a_server_that_fails_is_named_with_its_status(stub: Stub) -> None:
    error = failure(stub, "error")
    assert error.message == f"{stub.base_url} answered HTTP 500"
    assert "log" in error.hint


def test_garbage_in_place_of_an_answer_is_called_that(stub: Stub) -> None:
    error = failure(stub, "garbage")
    assert stub.base_url in error.message
    assert "no answer" in error.message
    assert "llm.base_url" in error.hint


@pytest.mark.parametrize("kind", ["cut", "ended"])
def test_an_answer_that_breaks_off_half_way_is_no_answer(stub: Stub, kind: Failure) -> None:
    stub.reply = Reply(("One ", "two "), failure=kind)
    pieces: list[str] = []

    async def read() -> None:
        async for piece in stream(endpoint(stub), LlmConfig(), QUESTION):
            pieces.append(piece)

    with pytest.raises(ModelError, match=f"{stub.base_url} broke off in the middle of the answer") as caught:
        asyncio.run(read())
    assert pieces == ["One ", "two "]
    assert caught.value.retryable
