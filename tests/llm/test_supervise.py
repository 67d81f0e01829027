"""vLLM kept running: a small program in vLLM's place crashes, is started again, and is given up."""

import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from core.errors import ModelError
from llm.serve import Server
from llm.supervise import Status, Supervisor, addresses, read_status, share, status_file, tail
from tests.llm.test_serve import Configure, of_session, open_files, quiet, wait_for


def kill_vllm(status: Status, number: int = 0) -> None:
    """End what is in vLLM's place, as the machine does when memory runs out."""
    psutil.Process(status.replicas[number].pid).children()[0].kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url.removesuffix("/v1") + "/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_a_crashed_server_is_started_again_and_the_cause_is_kept(configure: Configure, tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor.start(configure(), tmp_path / "vllm.log", said.append) as supervisor:
        first = supervisor.status().replicas[0]
        assert (first.state, first.restarts, first.crashes) == ("running", 0, ())
        assert abs(time.time() - first.since) < 60
        kill_vllm(supervisor.status())
        assert wait_for(lambda: supervisor.status().replicas[0].restarts == 1 and answers(supervisor.base_urls[0]))
        assert wait_for(lambda: supervisor.status().replicas[0].state == "running")
        again = supervisor.status().replicas[0]
        assert again.pid != first.pid
        assert "signal 9" in again.crashes[0].cause
        assert any("Starting to load" in line for line in tail(again))
        assert supervisor.failure() is None
        assert open_files().count(str(tmp_path / "vllm.log")) == 1
        assert str(tmp_path / "vllm.log.1") not in open_files()  # what the first one wrote
    assert of_session(again.pid) == []
    assert "started again in 1 s" in "".join(said)


def test_a_server_that_lives_but_answers_no_more_is_started_again(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.supervise._ASK_S", 0.1)
    silence = tmp_path / "silence"
    cfg = configure(vllm_silent_s=1.0, vllm_args=["--silent-by", str(silence)])
    with Supervisor.start(cfg, tmp_path / "vllm.log", quiet) as supervisor:
        first = supervisor.status().replicas[0]
        silence.touch()
        assert wait_for(lambda: supervisor.status().replicas[0].state == "waiting")
        assert of_session(first.pid) == []
        silence.unlink()
        assert wait_for(lambda: supervisor.status().replicas[0].state == "running")
        again = supervisor.status().replicas[0]
        assert again.pid != first.pid
        assert again.restarts == 1
        assert "did not answer for 1 s" in again.crashes[0].cause
        assert answers(supervisor.base_urls[0])


def test_a_server_that_crashes_too_often_is_given_up_with_its_causes(configure: Configure, tmp_path: Path) -> None:
    with Supervisor.start(configure(vllm_restarts=1), tmp_path / "vllm.log", quiet) as supervisor:
        kill_vllm(supervisor.status())
        assert wait_for(lambda: supervisor.status().replicas[0].restarts == 1)
        assert wait_for(lambda: supervisor.status().replicas[0].state == "running")
        kill_vllm(supervisor.status())
        assert wait_for(lambda: supervisor.status().replicas[0].state == "failed")
        failure = supervisor.failure()
        assert failure is not None
        assert "crashed 2 times" in failure.message
        assert "signal 9" in failure.message
        assert len(supervisor.status().replicas[0].crashes) == 2


def test_the_waits_double_until_the_limit(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with Supervisor.start(configure(vllm_restarts=9), tmp_path / "vllm.log", said.append) as supervisor:
        monkeypatch.setattr(supervisor._ended, "wait", lambda s: time.sleep(0.01) or supervisor._ended.is_set())

        def fails(*_: object) -> Server:
            raise ModelError("no start")

        monkeypatch.setattr(Server, "start", fails)
        kill_vllm(supervisor.status())
        assert wait_for(lambda: supervisor.status().replicas[0].state == "failed")
    waits = [line.split(" in ")[1] for line in said if "again" in line]
    assert waits == ["1 s", "2 s", "4 s", "8 s", "16 s", "32 s", "60 s", "60 s", "60 s"]


def test_replicas_live_and_die_apart(configure: Configure, tmp_path: Path, port: int) -> None:
    cfg = configure(vllm_replicas=2, vllm_restarts=0)
    assert addresses(cfg) == (f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port + 1}/v1")
    with Supervisor.start(cfg, tmp_path / "vllm.log", quiet) as supervisor:
        assert all(answers(url) for url in supervisor.base_urls)
        kill_vllm(supervisor.status(), 1)
        assert wait_for(lambda: supervisor.status().replicas[1].state == "failed")
        assert supervisor.failure() is None
        assert answers(supervisor.base_urls[0])
        pids = [replica.pid for replica in supervisor.status().replicas]
        assert pids[1] == 0
    assert of_session(pids[0]) == []
    assert {file.name for file in tmp_path.glob("*.log")} == {"vllm.log", "vllm-1.log"}


def test_a_start_of_which_one_fails_leaves_none(configure: Configure, tmp_path: Path, port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", port + 1)), pytest.raises(ModelError, match=f":{port + 1} is taken"):
        Supervisor.start(configure(vllm_replicas=2), tmp_path / "vllm.log", quiet)
    assert not answers(f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ModelError, match="would need port 65536"):
        Supervisor.start(configure(vllm_port=65535, vllm_replicas=2), tmp_path / "vllm.log", quiet)


def test_another_process_can_read_what_it_is_doing(configure: Configure, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    assert read_status(log) is None
    with Supervisor.start(configure(), log, quiet) as supervisor:
        assert read_status(log) == supervisor.status()
    told = read_status(log)
    assert told is not None
    assert told.replicas[0].state == "stopped"
    status_file(log).write_text('{"owner": 999999999, "model": "x", "replicas": []}')
    assert read_status(log) is None
    status_file(log).write_text('{"owner"')
    assert read_status(log) is None


def test_a_stop_while_a_restart_waits_ends_at_once(configure: Configure, tmp_path: Path) -> None:
    supervisor = Supervisor.start(configure(vllm_restarts=9), tmp_path / "vllm.log", quiet)
    kill_vllm(supervisor.status())
    assert wait_for(lambda: supervisor.status().replicas[0].state == "waiting")
    stopping = threading.Thread(target=supervisor.stop)
    stopping.start()
    stopping.join(30)
    assert not stopping.is_alive()
    assert supervisor.status().replicas[0].state == "stopped"
    assert supervisor.failure() is None


def test_replicas_share_the_gpus(configure: Configure, port: int) -> None:
    three = configure(vllm_replicas=3, vllm_memory=0.9, vllm_build="gpu")

    def told(number: int, devices: list[str]) -> tuple[int, float, dict[str, str]]:
        cfg, env = share(three, number, devices)
        return cfg.vllm_port - port, round(cfg.vllm_memory, 3), env

    assert told(2, []) == (2, 0.9, {})
    assert told(2, ["4", "5", "6"]) == (2, 0.9, {"CUDA_VISIBLE_DEVICES": "6"})
    assert told(1, ["0", "1", "2", "3", "4", "5"]) == (1, 0.9, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert told(2, ["0", "1"]) == (2, 0.45, {"CUDA_VISIBLE_DEVICES": "0"})
    assert told(1, ["0"]) == (1, 0.3, {"CUDA_VISIBLE_DEVICES": "0"})
    assert share(configure(vllm_memory=0.9), 0, ["0", "1"])[1] == {}
