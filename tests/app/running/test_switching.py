"""Another model is promoted while one is served: which answers, where, and what is left running."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from app.answering.backend import with_promoted, with_running
from app.http.server import build
from app.messages.errors_zh import says
from app.running import model_server, switching
from app.running.bases import State
from core.config import load
from core.errors import ModelError
from llm import fit, registry, supervise
from tests.fixtures_vllm import free_port
from tests.llm.conftest import make_stand_in
from tests.llm.test_serve import of_session, wait_for

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stand_in(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture
def state(tmp_path: Path, stand_in: Path) -> Iterator[State]:
    """An app whose vLLM, a small program in its place, serves the promoted model."""
    for name in NAMES:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"kind": "fetched"}))
        (folder / "config.json").write_text("{}")
        (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    flags = {"app.data": str(tmp_path), "llm.vllm_build": "cpu", "llm.vllm_env": str(stand_in),
             "llm.vllm_port": free_port(), "llm.vllm_cpu_kv_gb": 1}  # fmt: skip
    registry.promote(tmp_path, "one")
    made = State(with_promoted(load(flags=flags, environ={})))
    yield made
    model_server.close(made)


def quiet(line: str) -> None:
    pass


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def serves(state: State) -> tuple[str, str]:
    """What is served, and where questions are put."""
    assert state.vllm is not None
    url = f"http://127.0.0.1:{state.cfg.llm.vllm_port}/v1"
    assert state.vllm.base_urls == (url,)
    return state.vllm.model_name, Path(state.cfg.llm.vllm_model).name


def breaks(data: Path, name: str) -> None:
    (data / "models" / name / "fails").touch()


def test_a_start_that_fails_falls_back_to_what_was_promoted_before(state: State, tmp_path: Path) -> None:
    registry.promote(tmp_path, "two")
    registry.promote(tmp_path, "three")
    breaks(tmp_path, "three")
    breaks(tmp_path, "two")
    said: list[str] = []
    model_server.start(state, said.append)
    assert serves(state) == ("one", "one")
    assert state.fell_back.startswith("'three' did not start, so 'one', promoted before it, answers: vLLM failed: ")
    assert (state.vllm_status, state.failure, said[-1]) == ("", None, state.fell_back)
    assert [line.split(":")[0] for line in said if "loads" in line] == [f"vLLM loads {n!r}" for n in reversed(NAMES)]
    assert registry.promoted(tmp_path) == "three"
    state.ready.set()
    told = TestClient(build(state), base_url="http://127.0.0.1").get("/healthz")
    assert (told.status_code, told.json()["status"], told.json()["model"]) == (200, "degraded", state.fell_back)
    assert says(state.fell_back, "zh").startswith("'three' 没有启动成功，由之前启用的 'one' 回答：vLLM 出错：")


def test_a_start_that_nothing_can_stand_in_for_says_why(state: State, tmp_path: Path) -> None:
    breaks(tmp_path, "one")
    with pytest.raises(ModelError, match="taken by another program while"):
        model_server.start(state, quiet)
    assert state.vllm is None
    assert "taken by another program while" in state.vllm_status


def test_another_model_starts_beside_and_takes_over_once_the_answers_have_ended(state: State, tmp_path: Path) -> None:
    model_server.start(state, quiet)
    old = state.vllm
    assert old is not None
    first = old.status().replicas[0]
    registry.promote(tmp_path, "two")
    said: list[str] = []
    ticket = state.limits.admit("somebody")
    switch = threading.Thread(target=switching.switch, args=(state, said.append))
    switch.start()
    assert wait_for(lambda: state.vllm is not old)
    assert wait_for(lambda: serves(state) == ("two", "two"))
    assert answers(state.own_port)  # somebody's answer is still being written there
    assert answers(state.cfg.llm.vllm_port)
    later = state.limits.admit("another")  # which is put to the new one: the old one does not wait for it
    ticket.release()
    switch.join(60)
    assert not switch.is_alive()
    assert not answers(state.own_port)
    assert of_session(first.pid) == []
    later.release()
    assert (state.switching, state.fell_back) == ("", "")
    assert "'two' starts beside 'one', which answers until then" in said
    registry.roll_back(tmp_path)
    switching.switch(state, quiet)
    assert serves(state) == ("one", "one")
    assert state.cfg.llm.vllm_port == state.own_port


def test_one_that_does_not_start_leaves_the_other_as_it_is(state: State, tmp_path: Path) -> None:
    model_server.start(state, quiet)
    registry.promote(tmp_path, "two")
    breaks(tmp_path, "two")
    with pytest.raises(ModelError, match="taken by another program while"):
        switching.switch(state, quiet)
    assert serves(state) == ("one", "one")
    assert answers(state.own_port)
    assert "'two' did not start, so 'one', promoted before it, answers" in state.fell_back
    registry.roll_back(tmp_path)
    switching.switch(state, quiet)
    assert state.fell_back == ""


@pytest.mark.parametrize("broken", [False, True])
def test_without_room_for_both_the_old_one_ends_first(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    model_server.start(state, quiet)
    old = state.vllm
    registry.promote(tmp_path, "two")
    if broken:
        breaks(tmp_path, "two")
    small = fit.Device("memory of this machine", 8 << 30, 1 << 20)
    monkeypatch.setattr(fit, "device", lambda build, *, least=False: small)
    said: list[str] = []
    seen: list[bool] = []

    def note(line: str) -> None:
        said.append(line)
        if "loads" in line:
            seen.append(answers(state.own_port))

    switching.switch(state, note)
    assert state.vllm is not old
    assert serves(state) == (("one", "one") if broken else ("two", "two"))
    assert said[0].startswith("there is no room for 'two' beside 'one'")
    assert not any(seen)  # none was loaded while the old one was there
    assert bool(state.fell_back) is broken


def test_what_is_promoted_by_another_process_is_noticed(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "_LOOK_S", 0.05)
    model_server.start(state, quiet)
    stop = threading.Event()
    following = threading.Thread(target=switching.follow, args=(state, quiet, stop))
    following.start()
    assert wait_for(lambda: following.is_alive())
    registry.promote(tmp_path, "two")
    assert wait_for(lambda: serves(state) == ("two", "two"))
    stop.set()
    following.join(10)
    assert not following.is_alive()


def test_another_process_finds_the_model_where_it_is_served_now(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_server.start(state, quiet)
    begun = state.cfg
    registry.promote(tmp_path, "two")
    switching.switch(state, quiet)
    port = state.cfg.llm.vllm_port
    assert port != state.own_port
    assert with_running(begun) is begun  # this process knows itself
    file = supervise.status_file(supervise.beside(model_server.log_file(tmp_path)))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"owner": 1}))
    assert with_running(begun).llm.vllm_port == port


def test_the_app_ends_what_is_being_started(state: State, tmp_path: Path) -> None:
    registry.promote(tmp_path, "two")
    config = state.settings.config
    hangs = config.model_copy(update={"llm": config.llm.model_copy(update={"vllm_args": ["--hang"]})})
    state.settings = replace(state.settings, config=hangs)
    failed: list[ModelError] = []
    loading = threading.Event()

    def start() -> None:
        try:
            model_server.start(state, lambda line: loading.set() if "loads" in line else None)
        except ModelError as error:
            failed.append(error)

    begun = threading.Thread(target=start)
    begun.start()
    assert loading.wait(30)
    model_server.close(state)
    begun.join(30)
    assert not begun.is_alive()
    assert "cancelled" in failed[0].message
