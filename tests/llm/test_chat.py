"""The chat client against a small real server: what streams, what is left out, and what each failure is called."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest
import uvloop
from langchain_core.messages import BaseMessage, HumanMessage

from core.config import LlmConfig
from core.errors import ModelError
from llm.chat import stream
from llm.endpoint import Endpoint, probe, probe_all
from tests.app.stub_model import MODEL, Failure, Reply, Stub, serving
from tests.fixtures_vllm import free_port

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


def test_further_sampling_settings_reach_the_server_where_they_change_anything(stub: Stub) -> None:
    said(stub, LlmConfig(top_k=40, repetition_penalty=1.1, seed=7))
    said(stub, LlmConfig(top_k=-1))
    told, plain = stub.calls
    assert (told.body["top_k"], told.body["repetition_penalty"], told.body["seed"]) == (40, 1.1, 7)
    assert not plain.body.keys() & {"top_k", "repetition_penalty", "seed"}


def test_a_seed_of_nought_is_a_seed(stub: Stub) -> None:
    said(stub, LlmConfig(seed=0))
    assert stub.calls[0].body["seed"] == 0


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


@pytest.mark.parametrize(
    "raw",
    [
        b"data: 5\n\n",
        b"data: null\n\n",
        b'data: {"id": "x", "choi\n\n',
        b"data: \xff\xfe\x00\n\n",
        b'data: {"choices": "x"}\n\n',
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"error": {"message": "the engine died"}}\n\n',
        b'data: {"error": "the engine died"}\n\n',
    ],
)
def test_garbage_in_the_middle_of_an_answer_is_called_that(stub: Stub, raw: bytes) -> None:
    stub.reply = Reply(("One ",), raw=raw)
    pieces: list[str] = []

    async def read() -> None:
        async for piece in stream(endpoint(stub), LlmConfig(), QUESTION):
            pieces.append(piece)

    with pytest.raises(ModelError, match=f"{stub.base_url} sent something that is no answer") as caught:
        asyncio.run(read())
    assert "".join(pieces) == "One "
    assert caught.value.retryable


@pytest.mark.parametrize(
    "raw",
    [
        b": a comment to keep the connection open\n\n",
        b"event: ping\r\nid: 7\r\n\r\n",
        b'data: {"choices": [], "usage": {"total_tokens": 7}}\n\n',
        b'data: {"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": null}]}\n\n',
        b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n',
    ],
)
def test_what_is_no_text_is_passed_over(stub: Stub, raw: bytes) -> None:
    stub.reply = Reply(("One ",), raw=raw)
    assert "".join(said(stub)) == "One "


def test_half_a_surrogate_pair_becomes_a_question_mark(stub: Stub) -> None:
    stub.reply = Reply(("One ",), raw=b'data: {"choices": [{"delta": {"content": "a\\ud800b"}}]}\n\n')
    assert "".join(said(stub)) == "One a?b"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("kind", ["cut", "ended"])
def test_an_answer_that_breaks_off_half_way_is_no_answer(
    stub: Stub, kind: Failure, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    stub.reply = Reply(("One ", "two "), delay_s=0.003, failure=kind)
    pieces: list[str] = []

    async def read() -> None:
        async for piece in stream(endpoint(stub), LlmConfig(), QUESTION):
            pieces.append(piece)
            await asyncio.sleep(0.05)  # meanwhile the rest comes and the connection breaks

    broke = pytest.raises(ModelError, match=f"{stub.base_url} broke off in the middle of the answer")
    with asyncio.Runner(loop_factory=loop) as runner, broke as caught:
        runner.run(read())
    assert "".join(pieces) == "One two "
    assert caught.value.retryable


# Several servers of one model


@pytest.fixture
def two(stub: Stub) -> Iterator[tuple[Stub, Stub]]:
    with serving() as second:
        yield stub, second


def both(two: tuple[Stub, Stub]) -> Endpoint:
    return asyncio.run(probe_all([each.base_url for each in two], LlmConfig()))


def test_a_server_that_is_writing_is_not_asked_what_it_serves(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = LlmConfig()

    def found() -> Endpoint:
        return asyncio.run(probe_all([stub.base_url], cfg))

    assert found() == found()
    assert stub.probes == 2
    said(stub)
    assert found().model == MODEL
    assert stub.probes == 2
    with pytest.raises(ModelError, match="'gpt-9'"):
        asyncio.run(probe_all([stub.base_url], LlmConfig(model="gpt-9")))  # another question
    said(stub)
    failure(stub, "cut")
    assert found().model == MODEL
    assert stub.probes == 4
    stub.reply = Reply()
    said(stub)
    monkeypatch.setattr("llm.endpoint._ALIVE_S", 0.1)
    time.sleep(0.15)
    assert found().model == MODEL
    assert stub.probes == 5


def test_what_came_at_once_is_one_piece(stub: Stub) -> None:
    stub.reply = Reply([f"{n} " for n in range(500)])
    pieces = said(stub)
    assert "".join(pieces) == "".join(f"{n} " for n in range(500))
    assert len(pieces) < 100


def test_a_server_that_is_too_busy_is_asked_once_more(stub: Stub) -> None:
    failure(stub, "error")
    assert len(stub.calls) == 2
    stub.calls.clear()
    failure(stub, "overflow")
    assert len(stub.calls) == 1


def test_requests_go_to_the_least_busy_address(two: tuple[Stub, Stub]) -> None:
    for each in two:
        each.reply = Reply(["word "] * 20, delay_s=0.05)
    endpoint = both(two)

    async def ask_six_at_once() -> None:
        await asyncio.gather(*(_all(stream(endpoint, LlmConfig(), QUESTION)) for _ in range(6)))

    asyncio.run(ask_six_at_once())
    assert [len(each.calls) for each in two] == [3, 3]


def test_a_request_whose_address_is_gone_goes_to_another(two: tuple[Stub, Stub]) -> None:
    gone = f"http://127.0.0.1:{free_port()}/v1"
    endpoint = Endpoint(gone, MODEL, "", None, (two[1].base_url,))
    for _ in range(2):
        assert "".join(asyncio.run(_all(stream(endpoint, LlmConfig(), QUESTION)))) == "The answer stands here [1]."
    assert len(two[1].calls) == 2


def test_an_answer_that_was_begun_is_not_begun_again_elsewhere(two: tuple[Stub, Stub]) -> None:
    first, second = two
    first.reply = Reply(("One ", "two "), failure="cut")
    endpoint = Endpoint(first.base_url, MODEL, "", None, (second.base_url,))
    with pytest.raises(ModelError, match="broke off"):
        asyncio.run(_all(stream(endpoint, LlmConfig(), QUESTION)))
    assert second.calls == []
