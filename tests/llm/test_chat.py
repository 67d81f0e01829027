"""The chat client against a small real server: what streams, what is left out, and what each failure is called."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import uvloop
from langchain_core.messages import BaseMessage, HumanMessage

from core.config import LlmConfig
from core.errors import ModelError
from llm.chat import Finish, Piece, stream, whole
from llm.endpoint import Endpoint, probe, probe_all
from tests.app.stub_model import MODEL, Failure, Reply, Stub, serving
from tests.fixtures_vllm import free_port

QUESTION: list[BaseMessage] = [HumanMessage("How many days?")]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


async def _all(pieces: AsyncGenerator[Piece, None]) -> list[str]:
    return [piece async for piece in pieces if isinstance(piece, str)]


def said(stub: Stub, cfg: LlmConfig | None = None) -> list[str]:
    """What the stub's model says, piece by piece."""
    return asyncio.run(_all(stream(endpoint(stub), cfg or LlmConfig(), QUESTION)))


def text(stub: Stub) -> str:
    """What is left of it in the end."""
    return asyncio.run(whole(stream(endpoint(stub), LlmConfig(), QUESTION)))


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
            return sent, str(first) + "".join(await _all(pieces))

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


def test_each_sampling_setting_is_said_also_where_it_changes_nothing(stub: Stub) -> None:
    said(stub, LlmConfig(top_k=40, repetition_penalty=1.1, seed=7))
    said(stub, LlmConfig(top_k=0))
    told, plain = (call.body for call in stub.calls)
    assert (told["top_k"], told["repetition_penalty"], told["seed"]) == (40, 1.1, 7)
    assert told["repeat_penalty"] == 1.1  # llama.cpp's name for it
    assert (plain["top_k"], plain["repetition_penalty"], plain["min_p"]) == (-1, 1.0, 0.0)
    assert (plain["presence_penalty"], plain["frequency_penalty"]) == (0.0, 0.0)
    assert not plain.keys() & {"seed", "repeat_penalty"}


def test_a_server_that_refuses_what_changes_nothing_answers_without_it(stub: Stub) -> None:
    stub.unknown = {"top_k", "min_p", "repetition_penalty"}
    assert text(stub) == text(stub) == "".join(stub.reply.pieces)
    refused, plain, again = (call.body for call in stub.calls)  # the second time it is known
    assert stub.unknown <= refused.keys()
    assert plain == again
    assert not plain.keys() & {*stub.unknown, "presence_penalty", "frequency_penalty"}


def test_a_setting_that_a_server_refuses_is_not_left_out_silently(stub: Stub) -> None:
    stub.unknown = {"top_k"}
    with pytest.raises(ModelError, match=r"refused the request: .*top_k"):
        said(stub, LlmConfig(top_k=40))
    assert stub.calls[-1].body["top_k"] == 40


def test_a_prompt_that_is_too_long_is_not_asked_again(stub: Stub) -> None:
    failure(stub, "overflow")
    assert len(stub.calls) == 1


@pytest.mark.parametrize(
    ("rows", "model", "context"),
    [
        ([{"id": "base", "max_model_len": 512}, {"id": "tuned", "parent": "base"}], "tuned", 512),
        ([{"id": "base", "max_model_len": 512}, {"id": "tuned", "parent": "maker/base"}], "tuned", 512),
        ([{"id": "a", "max_model_len": 512}, {"id": "b", "max_model_len": 64}, {"id": "t", "parent": "b"}], "t", 64),
        ([{"id": "a", "max_model_len": 512}, {"id": "b", "max_model_len": 64}, {"id": "t", "parent": "c"}], "t", None),
        ([{"id": "a", "parent": "b"}, {"id": "b", "parent": "a"}], "a", None),
        ([{"id": "base", "max_model_len": 512}, {"id": "other"}], "other", None),
    ],
)
def test_the_context_of_an_adapter_is_its_parents(
    stub: Stub, rows: list[dict[str, Any]], model: str, context: int | None
) -> None:
    stub.rows = rows
    assert asyncio.run(probe(stub.base_url, LlmConfig(model=model))).context == context


def test_a_seed_of_nought_is_a_seed(stub: Stub) -> None:
    said(stub, LlmConfig(seed=0))
    assert stub.calls[0].body["seed"] == 0


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["<thi", "nk>hm</th", "ink>Twenty days"], "Twenty days"),
        (["\n<think>hm</think>\n", "Twenty days"], "Twenty days"),
        (["a <think> later stays"], "a <think> later stays"),
    ],
)
def test_what_a_model_thinks_is_left_out(stub: Stub, pieces: list[str], shown: str) -> None:
    stub.reply = Reply(pieces)
    assert text(stub) == shown


def test_thoughts_whose_beginning_is_not_marked_are_shown_to_nobody_from_the_second_answer_on(stub: Stub) -> None:
    stub.reply = Reply(["I see. ", "</think>", "Twenty days"])
    assert [said(stub), text(stub)] == [["I see. ", "Twenty days"], "Twenty days"]
    assert said(stub) == ["Twenty days"]
    stub.reply = Reply(["Twenty ", "days"], delay_s=0.1)
    assert said(stub) == ["Twenty days"]  # once more it is waited for
    assert said(stub) == ["Twenty ", "days"]


def test_the_reason_why_an_answer_ended_comes_last(stub: Stub) -> None:
    stub.reply = Reply(("Twenty da",), finish="length")
    assert asyncio.run(_last(stream(endpoint(stub), LlmConfig(), QUESTION))) == Finish("length")


async def _last(pieces: AsyncGenerator[Piece, None]) -> Piece:
    return [piece async for piece in pieces][-1]


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (Reply(()), "the model wrote no answer", "ask again"),
        (Reply((), finish="length"), "llm.max_tokens were used up", "raise llm.max_tokens"),
        (Reply((), finish="tool_calls"), "called a tool instead", "without tools"),
        (Reply((), finish="content_filter"), "a filter of its server", "server's settings"),
        (Reply(("<think>never ends",)), "taken for its thoughts", "--reasoning-parser"),
        (Reply((" \n",)), "the model wrote no answer", "ask again"),
    ],
)
def test_a_reply_without_an_answer_is_an_error_that_says_why(stub: Stub, reply: Reply, message: str, hint: str) -> None:
    stub.reply = reply
    with pytest.raises(ModelError, match=message) as caught:
        said(stub)
    assert hint in caught.value.hint


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
            pieces.append(str(piece))

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
        b'data: {"choices": null, "usage": {"total_tokens": 7}}\n\n',
        b'data: {"usage": {"total_tokens": 7}}\n\n',
        b'data: {"choices": [{"index": 0}]}\n\n',
        b'data: {"choices": [{"delta": null}]}\n\n',
        b'data: {"choices": [{"delta": {"content": [{"type": "thinking", "thinking": "hm"}]}}]}\n\n',
    ],
)
def test_what_is_no_text_is_passed_over(stub: Stub, raw: bytes) -> None:
    stub.reply = Reply(("One ",), raw=raw)
    assert "".join(said(stub)) == "One "


@pytest.mark.parametrize(
    "content", ['"One two"', '[{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]']
)
def test_an_answer_that_comes_whole_although_a_stream_was_asked_for_is_read(stub: Stub, content: str) -> None:
    body = '{\n "choices": [\n {"message": {"content": ' + content + '}, "finish_reason": "stop"}]\n}'
    stub.reply = Reply((), raw=body.encode(), failure="ended")
    assert text(stub) == "One two"


STREAM = (
    b'data: {"choices": [{"delta": {"content": "One "}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "two"}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("at", [n for n in range(len(STREAM)) if STREAM[n : n + 1] == b"\n"])
def test_where_the_network_cuts_a_stream_makes_no_difference(at: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for part in (STREAM[:at], STREAM[at:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that they are read one by one
        writer.close()

    async def ask() -> list[Piece]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            return [piece async for piece in stream(Endpoint(url, MODEL, ""), LlmConfig(), QUESTION)]

    *said, last = asyncio.run(ask())
    assert "".join(piece for piece in said if isinstance(piece, str)) == "One two"
    assert last == Finish("length")


def test_the_mark_of_the_end_ends_an_answer_that_gives_no_reason(stub: Stub) -> None:
    stub.reply = Reply(("One two",), raw=b"data: [DONE]\n\n", failure="ended")
    assert text(stub) == "One two"


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
            pieces.append(str(piece))
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
