"""What answers at an address: probed against a small real server, alone and among several of one model."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from core.config import LlmConfig
from core.errors import ModelError
from llm.endpoint import Endpoint, probe, probe_all
from tests.app.stub_model import MODEL, Reply, Stub, serving
from tests.fixtures_vllm import free_port


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def two(stub: Stub) -> Iterator[tuple[Stub, Stub]]:
    with serving() as second:
        yield stub, second


def both(two: tuple[Stub, Stub]) -> Endpoint:
    return asyncio.run(probe_all([each.base_url for each in two], LlmConfig()))


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


def test_all_addresses_that_answer_make_one_endpoint(two: tuple[Stub, Stub]) -> None:
    first, second = two
    assert both(two) == Endpoint(first.base_url, MODEL, "", 4096, (second.base_url,))


def test_one_that_does_not_answer_is_left_out_until_it_is_back(
    two: tuple[Stub, Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    monkeypatch.setattr("llm.endpoint._LEFT_OUT_S", 0.3)
    first.reply = Reply(failure="refused")
    assert both(two) == Endpoint(second.base_url, MODEL, "", 4096)
    first.reply = Reply()
    assert both(two).others == ()  # it is not asked anew for every question
    time.sleep(0.3)
    assert both(two).others == (second.base_url,)


def test_where_none_answers_the_first_failure_is_told() -> None:
    gone = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    with pytest.raises(ModelError, match=gone[0]):
        asyncio.run(probe_all(gone, LlmConfig()))
