"""The HTTP API as a program meets it: the official client against `ragstone serve`, a stub where the model would be."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from app.http.server import build
from app.running.bases import State
from core.config import load
from core.errors import ModelError
from tests.app.app_process import App, command, environment, index, running
from tests.app.stub_model import MODEL, Reply, Stub
from tests.needs import later

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionUserMessageParam
else:
    openai = later("openai")

pytestmark = pytest.mark.slow

QUESTION = "Up to what turbidity does the LT-300 measure?"


@pytest.fixture(scope="module")
def server(handbook: Path, model_server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("serve")
    shutil.copytree(handbook, folder / "data")
    (folder / "notes").mkdir()
    (folder / "notes" / "garage.md").write_text("# Garage\n\nThe garage of the Suzhou office opens at 06:45.\n")
    index(folder / "notes", "notes", folder / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url, "RAGSTONE_LLM__TIMEOUT_S": "5"}
    with running("serve", folder / "data", folder / "serve.log", env) as app:
        yield app


@pytest.fixture
def client(server: App) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=60)


def user(text: str) -> ChatCompletionUserMessageParam:
    return {"role": "user", "content": text}


def test_the_knowledge_bases_are_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["handbook", "notes"]


def test_further_knowledge_bases_are_searched_where_asked(client: openai.OpenAI, stub: Stub) -> None:
    extra = {"ragstone": {"also": ["notes"]}}
    asked = [user("When does the garage of the Suzhou office open?")]
    done = client.chat.completions.create(model="handbook", messages=asked, extra_body=extra)
    citation = (done.model_extra or {})["ragstone"]["citations"][0]
    assert (citation["kb"], citation["path"]) == ("notes", "garage.md")
    assert "06:45" in stub.calls[0].text
    with pytest.raises(openai.NotFoundError, match="no knowledge base 'secret'"):
        client.chat.completions.create(
            model="handbook", messages=asked, extra_body={"ragstone": {"also": ["notes", "secret"]}}
        )


def test_a_whole_answer_carries_its_citations(client: openai.OpenAI, stub: Stub) -> None:
    done = client.chat.completions.create(model="handbook", messages=[user(QUESTION)])
    assert done.choices[0].message.content == "The answer stands here [1]."
    assert done.choices[0].finish_reason == "stop"
    more = (done.model_extra or {})["ragstone"]
    assert (more["answered"], more["backend"], more["model"]) == (True, "openai", MODEL)
    (citation,) = more["citations"]
    assert citation["n"] == 1
    assert (citation["path"], citation["page"]) == ("products/lt-300-manual.pdf", 1)
    assert citation["quote"] in stub.calls[0].text


def test_a_streamed_answer_arrives_piece_by_piece(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply([f"{i} " for i in range(40)] + ["[1]."], delay_s=0.05)
    deltas, sent_at_first, more, finish = [], None, {}, None
    with client.chat.completions.create(model="handbook", messages=[user(QUESTION)], stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                sent_at_first = stub.calls[0].sent if sent_at_first is None else sent_at_first
                deltas.append(chunk.choices[0].delta.content)
            more |= chunk.model_extra or {}
            finish = chunk.choices[0].finish_reason
    assert "".join(deltas) == "".join(f"{i} " for i in range(40)) + "[1]."
    assert len(deltas) > 20
    assert sent_at_first is not None
    assert sent_at_first < 40
    assert finish == "stop"
    assert more["ragstone"]["citations"][0]["n"] == 1


def test_a_mark_without_a_source_is_taken_out_and_said(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(("Twenty-five days [1]", ", says [9", "9]."))
    done = client.chat.completions.create(model="handbook", messages=[user(QUESTION)])
    assert done.choices[0].message.content == "Twenty-five days [1], says."
    assert "[99]" in (done.model_extra or {})["ragstone"]["notes"][0]


def test_a_model_that_finds_no_answer_in_the_sources_is_not_quoted(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(("NO_", "ANSWER"))
    done = client.chat.completions.create(model="handbook", messages=[user("谁发明了望远镜？")])
    assert done.choices[0].message.content == "文档中没有涉及这个问题的内容。"
    assert (done.model_extra or {})["ragstone"]["answered"] is False


def test_a_follow_up_is_rewritten_and_answered_with_its_history(client: openai.OpenAI, stub: Stub) -> None:
    stub.rewritten = "Up to what turbidity does the LT-520 measure?"
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        user(QUESTION),
        {"role": "assistant", "content": "1000 NTU [1]."},
        user("And the LT-520?"),
    ]
    done = client.chat.completions.create(model="handbook", messages=messages)
    rewrite, answer = stub.calls
    assert rewrite.rewrites
    assert QUESTION in rewrite.text
    assert "1000 NTU" in rewrite.text
    assert [m["role"] for m in answer.body["messages"]] == ["system", "user", "assistant", "user"]
    assert "Be brief." in answer.body["messages"][0]["content"]
    assert (done.model_extra or {})["ragstone"]["query"] == stub.rewritten


def test_a_filter_of_the_request_limits_the_search_and_the_trace_says_how_it_went(
    client: openai.OpenAI, stub: Stub
) -> None:
    extra = {"ragstone": {"filter": {"paths": ["people/**"]}}}
    stub.variants = Reply(('{"queries": ["holiday entitlement"]}',))
    reply = client.chat.completions.create(model="handbook", messages=[user("How many days?")], extra_body=extra)
    told = reply.model_dump()["ragstone"]["trace"]
    assert [query["text"] for query in told["queries"]] == ["How many days?", "holiday entitlement"]
    assert {row["path"].split("/")[0] for row in told["candidates"]} == {"people"}


def test_a_search_in_steps_is_asked_for_in_the_request(client: openai.OpenAI, stub: Stub) -> None:
    replies = iter(["SEARCH: annual leave days", "NOTE [1]: days of leave\nENOUGH", "So many days [1]."])
    stub.thinks = lambda _: next(replies)
    asked = [user("How many days of annual leave are there?")]
    done = client.chat.completions.create(model="handbook", messages=asked, extra_body={"ragstone": {"steps": 2}})
    told = (done.model_extra or {})["ragstone"]
    assert [query["text"] for query in told["trace"]["queries"] if query["origin"] == "step"] == ["annual leave days"]
    assert done.choices[0].message.content == "So many days [1]."
    assert [citation["n"] for citation in told["citations"]] == [1]
    assert next(replies, None) is None


@pytest.mark.parametrize("steps", [-1, 11, "many"])
def test_more_steps_than_there_may_be_are_refused(client: openai.OpenAI, steps: object) -> None:
    with pytest.raises(openai.BadRequestError, match=r"ragstone\.steps"):
        client.chat.completions.create(
            model="handbook", messages=[user("leave?")], extra_body={"ragstone": {"steps": steps}}
        )


@pytest.mark.parametrize("wrong", [{"paht": ["a"]}, {"since": "yesterday"}])
def test_a_filter_that_cannot_be_meant_is_refused(client: openai.OpenAI, wrong: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="handbook", messages=[user("How many?")], extra_body={"ragstone": {"filter": wrong}}
        )


def test_sampling_settings_of_a_request_reach_the_model(client: openai.OpenAI, stub: Stub) -> None:
    client.chat.completions.create(
        model="handbook", messages=[user(QUESTION)], temperature=0.9, top_p=0.3, max_completion_tokens=9
    )
    body = stub.calls[0].body
    assert (body["temperature"], body["top_p"]) == (0.9, 0.3)
    assert body.get("max_completion_tokens", body.get("max_tokens")) == 9


def test_sampling_settings_beyond_openais_reach_the_model(client: openai.OpenAI, stub: Stub) -> None:
    extra = {"top_k": 5, "repetition_penalty": 1.2}
    client.chat.completions.create(model="handbook", messages=[user(QUESTION)], seed=11, extra_body=extra)
    body = stub.calls[0].body
    assert (body["seed"], body["top_k"], body["repetition_penalty"]) == (11, 5, 1.2)


@pytest.mark.parametrize("extra", [{"top_k": -2}, {"repetition_penalty": 0}, {"seed": -5}, {"seed": 2**63}])
def test_sampling_settings_out_of_range_are_refused_and_named(client: openai.OpenAI, extra: dict[str, float]) -> None:
    with pytest.raises(openai.BadRequestError, match=next(iter(extra))):
        client.chat.completions.create(model="handbook", messages=[user(QUESTION)], extra_body=extra)


def test_the_usage_is_that_of_the_prompt_as_it_was_sent(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(("二十五天", "。[1]"))
    done = client.chat.completions.create(model="handbook", messages=[user(QUESTION)])
    sent = sum(len(message["content"]) for message in stub.calls[0].body["messages"])
    assert done.usage is not None
    assert 0.25 * sent < done.usage.prompt_tokens < 0.5 * sent  # an English prompt: about three characters a token
    assert done.usage.completion_tokens == 5 + 1  # a CJK character each, and the mark
    assert done.usage.total_tokens == done.usage.prompt_tokens + 6


def test_a_stream_ends_with_its_usage_where_asked(client: openai.OpenAI) -> None:
    for asked in (True, False):
        with client.chat.completions.create(
            model="handbook", messages=[user(QUESTION)], stream=True, stream_options={"include_usage": asked}
        ) as stream:
            chunks = list(stream)
        told = [chunk.usage.total_tokens for chunk in chunks if chunk.usage is not None]
        assert bool(told) is asked
        assert [chunk for chunk in chunks if not chunk.choices] == (chunks[-1:] if asked else [])


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_ends_before_a_stop_sequence_that_stands_across_pieces(
    client: openai.OpenAI, stub: Stub, stream: bool
) -> None:
    stub.reply = Reply(("Clean the wi", "ndow first. E", "N", "D and then [1]."))
    reply = client.chat.completions.create(
        model="handbook", messages=[user(QUESTION)], stop=["END", "zzz"], stream=stream
    )
    if isinstance(reply, openai.Stream):
        text = "".join(chunk.choices[0].delta.content or "" for chunk in reply)
    else:
        text = reply.choices[0].message.content or ""
    assert text == "Clean the window first. "


def test_what_only_looked_like_a_stop_sequence_is_shown(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(("It is the EN", "TIRE range [1] E", "N"))
    with client.chat.completions.create(model="handbook", messages=[user(QUESTION)], stop="END", stream=True) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "It is the ENTIRE range [1] EN"


def test_an_unknown_knowledge_base_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-kb"):
        client.chat.completions.create(model="no-such-kb", messages=[user(QUESTION)])


@pytest.mark.parametrize("name", ["../handbook", "", "a/b", "handbook\n", "k" * 5000])
def test_a_name_that_no_knowledge_base_can_have_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=name, messages=[user(QUESTION)])


@pytest.mark.parametrize(
    "messages",
    [[user("")], [user("  \n")], [user(QUESTION), {"role": "assistant", "content": "25"}], []],
    ids=["empty", "blank", "not-a-question", "no-messages"],
)
def test_a_request_without_a_question_is_refused(
    client: openai.OpenAI, messages: list[ChatCompletionMessageParam]
) -> None:
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="handbook", messages=messages)


def test_a_body_that_is_no_json_is_refused_in_the_same_form(server: App) -> None:
    response = httpx.post(f"{server.url}/v1/chat/completions", content=b"{", headers={"content-type": "text/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_failing_model_server_is_reported_in_its_words(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(failure="overflow")
    with pytest.raises(openai.APIStatusError, match="maximum context length is 512 tokens") as caught:
        client.chat.completions.create(model="handbook", messages=[user(QUESTION)])
    assert caught.value.status_code == 502
    assert "retrieval.context_tokens" in str(caught.value)


def test_a_model_server_that_breaks_off_ends_the_stream_with_an_error(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(("One ", "two "), failure="cut")
    seen = ""
    stream = client.chat.completions.create(model="handbook", messages=[user(QUESTION)], stream=True)
    with pytest.raises(openai.APIError, match="broke off in the middle"), stream:  # noqa: PT012
        for chunk in stream:
            seen += chunk.choices[0].delta.content or ""
    assert seen.strip() == "One two"


def test_a_client_that_leaves_ends_the_request_at_the_model(client: openai.OpenAI, stub: Stub) -> None:
    stub.reply = Reply(["word "] * 5000, delay_s=0.02)
    stream = client.chat.completions.create(model="handbook", messages=[user(QUESTION)], stream=True)
    assert any(chunk.choices[0].delta.content for chunk in stream)
    stream.close()
    assert stub.calls[0].left.wait(15)
    assert stub.calls[0].sent < 1000


def test_a_client_that_leaves_before_the_first_word_ends_the_request_too(server: App, stub: Stub) -> None:
    stub.reply = Reply(failure="stall")
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
        events = response.iter_text()
        next(events)  # the role comes at once, before anything was searched
        assert stub.asked.wait(60)
    assert stub.calls[0].left.wait(15)


def test_several_clients_are_answered_at_once(server: App, stub: Stub) -> None:
    stub.reply = Reply([f"{i} " for i in range(20)], delay_s=0.05)

    async def ask(client: openai.AsyncOpenAI) -> str:
        done = await client.chat.completions.create(model="handbook", messages=[user(QUESTION)])
        return done.choices[0].message.content or ""

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(ask(client) for _ in range(8)))

    answers = asyncio.run(all_at_once())
    assert set(answers) == {"".join(f"{i} " for i in range(20)).strip()}
    assert len(answers) == 8


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/no-such-page", "/docs", "/openapi.json"])
def test_every_response_forbids_other_hosts_and_guessing(server: App, path: str) -> None:
    response = httpx.get(server.url + path)
    assert response.status_code == (200 if path in ("/healthz", "/v1/models") else 404)
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


def test_streams_and_errors_have_the_headers_too(server: App, stub: Stub) -> None:
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    for payload, status in ((body, 200), (body | {"model": "none"}, 404), ({}, 400)):
        response = httpx.post(f"{server.url}/v1/chat/completions", json=payload, timeout=60)
        assert response.status_code == status
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in response.headers


def test_it_listens_on_loopback_only(server: App) -> None:
    process = psutil.Process(server.process.pid)
    family = [process, *process.children(recursive=True)]
    listening = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", server.port)]


@pytest.mark.parametrize("surface", ["serve", "ui"])
def test_a_taken_port_is_an_error_that_names_it(surface: str, handbook: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        args = command(surface, "--kb", "handbook", "--port", str(port))
        done = subprocess.run(args, env=environment(handbook), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_health_says_starting_until_the_app_is_ready_and_why_it_failed(tmp_path: Path) -> None:
    state = State(load(flags={"app.data": str(tmp_path)}, environ={}))
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        assert (client.get("/healthz").status_code, client.get("/healthz").json()["status"]) == (503, "starting")
        state.ready.set()
        assert client.get("/healthz").json() == {"status": "ok"}
        state.failure = ModelError("vLLM did not start: no GPU", "use the CPU build")
        assert client.get("/healthz").status_code == 500
        assert "use the CPU build" in client.get("/healthz").json()["error"]


def test_health_says_when_the_folders_are_not_followed(handbook: Path) -> None:
    state = State(load(flags={"app.data": str(handbook), "llm.backend": "extractive"}, environ={}))
    with TestClient(build(state), base_url="http://127.0.0.1") as client:
        state.ready.set()
        state.watching = "the disk is full"
        assert client.get("/healthz").json() == {"status": "degraded", "watching": "the disk is full"}
        assert client.get("/healthz").status_code == 200  # questions are answered
        state.watching = ""
        assert client.get("/healthz").json() == {"status": "ok"}
