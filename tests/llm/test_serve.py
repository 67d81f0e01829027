"""The life of the server runs against a small program in vLLM's place, and once more against vLLM itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.config import LlmConfig
from core.errors import ModelError
from llm.serve import Server, build_argv, check_adapters, check_model, check_port, environment

Configure = Callable[..., LlmConfig]


def quiet(line: str) -> None:
    pass


def of_session(leader: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def open_files() -> list[str]:
    """The files that this process has open."""
    return [file.path for file in psutil.Process().open_files()]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return met


# What vLLM is told


def test_the_arguments_come_from_the_configuration_and_vllm_args_come_last(configure: Configure, model: Path) -> None:
    cfg = configure(vllm_port=8001, vllm_max_model_len=4096, vllm_args=["--max-num-seqs", "4"])
    assert build_argv(cfg, "cpu") == [
        "serve", str(model), "--served-model-name", "tiny-model", "--host", "127.0.0.1", "--port", "8001",
        "--enable-prefix-caching", "--max-model-len", "4096", "--enforce-eager",
        "--distributed-executor-backend", "uni", "--max-num-seqs", "4",
    ]  # fmt: skip


@pytest.mark.parametrize("args", [["--runner", "pooling"], ["--runner=pooling"]])
def test_an_encoder_is_given_no_prefix_cache_and_needs_no_chat_template(
    configure: Configure, model: Path, args: list[str]
) -> None:
    (model / "tokenizer_config.json").write_text("{}")
    cfg = configure(vllm_args=args)
    check_model(cfg)
    assert "--enable-prefix-caching" not in build_argv(cfg, "cpu")  # vLLM's engine ends where an encoder is given one
    with pytest.raises(ModelError, match="no chat template"):
        check_model(configure(vllm_args=["--runner", "generate"]))


def test_the_gpu_build_is_told_its_share_of_memory_and_compiles(configure: Configure) -> None:
    argv = build_argv(configure(vllm_memory=0.5, vllm_name="mine"), "gpu")
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.5"
    assert argv[argv.index("--served-model-name") + 1] == "mine"
    assert "--enforce-eager" not in argv
    assert "--max-model-len" not in argv


@pytest.mark.parametrize(("rank", "told"), [(1, "1"), (5, "8"), (32, "32"), (257, "320"), (512, "512")])
def test_adapters_are_served_up_to_the_next_rank_that_vllm_knows(configure: Configure, rank: int, told: str) -> None:
    cfg = configure(vllm_lora_rank=rank)
    argv = build_argv(cfg, "gpu")
    assert argv[argv.index("--enable-lora") + 1 :][:2] == ["--max-lora-rank", told]
    assert environment(cfg, "gpu", {})["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


def test_without_adapters_vllm_is_not_told_of_any(configure: Configure) -> None:
    assert "--enable-lora" not in build_argv(configure(), "gpu")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment(configure(), "gpu", {})


def test_adapters_and_an_address_for_others_do_not_go_together(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vllm_lora_rank: .*listens on 0\.0\.0\.0"):
        Server.start(configure(vllm_lora_rank=8, vllm_host="0.0.0.0"), tmp_path / "vllm.log", quiet)


def test_adapters_and_8_bit_activations_do_not_go_together_on_the_cpu(
    configure: Configure, model: Path, tmp_path: Path
) -> None:
    bits = {"num_bits": 8, "type": "int"}
    group = {"weights": bits, "input_activations": bits}
    told = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}}
    (model / "config.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match=r"llm\.vllm_lora_rank: vLLM's CPU build .*W8A8") as caught:
        Server.start(configure(vllm_lora_rank=8), tmp_path / "vllm.log", quiet)
    assert "vllm_lora_rank = 0" in caught.value.hint
    check_adapters(configure())
    check_adapters(configure(vllm_lora_rank=8, vllm_build="gpu"))


def test_nothing_is_sent_home_and_no_secret_or_python_path_is_passed_on(configure: Configure) -> None:
    base = {"PATH": "/bin", "PYTHONPATH": "/elsewhere", "RAGSTONE_LLM__API_KEY": "secret"}
    env = environment(configure(vllm_cpu_kv_gb=3), "cpu", base)
    assert env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == env["HF_HUB_OFFLINE"] == "1"
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert env["PATH"] == "/bin"
    assert not env.keys() & {"PYTHONPATH", "RAGSTONE_LLM__API_KEY"}


def test_a_thread_count_of_the_user_stays(configure: Configure) -> None:
    assert environment(configure(), "cpu", {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    assert "OMP_NUM_THREADS" not in environment(configure(), "gpu", {})


@pytest.mark.parametrize("base", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_a_model_named_as_on_a_hub_may_be_downloaded_unless_the_user_forbids(
    configure: Configure, base: dict[str, str]
) -> None:
    cfg = configure(vllm_model="maker/some-model-1B")
    check_model(cfg)
    assert build_argv(cfg, "cpu")[1:4] == ["maker/some-model-1B", "--served-model-name", "some-model-1B"]
    assert environment(cfg, "cpu", base).get("HF_HUB_OFFLINE") == base.get("HF_HUB_OFFLINE")


# What is examined before the start


@pytest.mark.parametrize("name", ["/no/such/folder", "no-such-folder", "~/no/such/folder"])
def test_a_missing_model_folder_is_named_with_its_key(configure: Configure, name: str) -> None:
    with pytest.raises(ModelError, match=r"llm\.vllm_model.*no.such.folder") as caught:
        check_model(configure(vllm_model=name))
    assert "config.json" in caught.value.hint


def test_no_model_at_all_is_said(configure: Configure) -> None:
    with pytest.raises(ModelError, match=r"llm\.vllm_model is empty"):
        check_model(configure(vllm_model=""))


def test_a_folder_without_config_json_is_no_model(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        check_model(configure(vllm_model=str(tmp_path)))


def test_a_model_without_a_chat_template_needs_one(configure: Configure, model: Path) -> None:
    check_model(configure())
    (model / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match="no chat template") as caught:
        check_model(configure())
    assert "--chat-template" in caught.value.hint
    check_model(configure(vllm_args=["--chat-template=/some/file.jinja"]))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    check_model(configure())


def test_a_damaged_tokenizer_config_is_named(configure: Configure, model: Path) -> None:
    (model / "tokenizer_config.json").write_text('{"chat_temp')
    with pytest.raises(ModelError, match=r"tokenizer_config\.json' cannot be read"):
        check_model(configure())


def test_a_taken_port_is_named_with_its_key(configure: Configure, port: int) -> None:
    check_port(configure())
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ModelError, match=rf"llm\.vllm_port: .*:{port} is"):
        check_port(configure())


def test_a_host_of_another_machine_is_refused(configure: Configure) -> None:
    with pytest.raises(ModelError, match=r"cannot listen on 192\.0\.2\.1"):
        check_port(configure(vllm_host="192.0.2.1"))


# The life of the process, with a program in vLLM's place


def test_it_starts_reports_and_stops_with_all_that_it_started(configure: Configure, tmp_path: Path, port: int) -> None:
    lines: list[str] = []
    log = tmp_path / "logs" / "vllm.log"
    with Server.start(configure(), log, lines.append) as server:
        leader = server._process.pid
        assert server.running()
        assert server.failure() is None
        assert server.base_url == f"http://127.0.0.1:{port}/v1"
        assert len(of_session(leader)) == 3  # the launcher, vLLM, what vLLM started
    server.stop()
    assert not server.running()
    assert server.failure() is None
    assert of_session(leader) == []
    check_port(configure())
    assert "tiny-model" in lines[0]
    assert server.base_url in lines[-1]
    Server.start(configure(), log, quiet).stop()
    assert "Starting to load" in (tmp_path / "logs" / "vllm.log.1").read_text()


def test_its_log_is_closed_when_it_ends_and_still_told_of(configure: Configure, tmp_path: Path) -> None:
    with Server.start(configure(), tmp_path / "vllm.log", quiet) as server:
        assert str(tmp_path / "vllm.log") in open_files()
    assert str(tmp_path / "vllm.log") not in open_files()
    assert "Starting to load model" in "".join(server.log_tail(50))
    server.bound_log(most=10)


def test_a_start_that_fails_leaves_no_log_open(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as failed:  # its traceback keeps what it came from
        Server.start(configure(vllm_args=["--fail"]), tmp_path / "vllm.log", quiet)
    assert failed.value
    with pytest.raises(ModelError, match="could not be started") as refused:
        Server.start(configure(), tmp_path / "vllm.log", quiet, env={"BAD": "x" * 10_000_000})
    assert refused.value
    assert str(tmp_path / "vllm.log") not in open_files()


def test_a_failed_start_is_explained_and_leaves_nothing(configure: Configure, tmp_path: Path) -> None:
    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(ModelError, match=r"llm\.vllm_port was taken") as caught:
        Server.start(configure(vllm_args=["--fail"]), tmp_path / "vllm.log", quiet)
    assert str(tmp_path / "vllm.log") in caught.value.hint
    assert {process.pid for process in psutil.Process().children()} == before


def test_a_start_that_takes_too_long_ends_and_names_the_last_step(configure: Configure, tmp_path: Path) -> None:
    cfg = configure(vllm_args=["--hang"], vllm_start_timeout_s=3.0)
    with pytest.raises(ModelError, match="within 3 s; last: Starting to load model tiny"):
        Server.start(cfg, tmp_path / "vllm.log", quiet)


def test_a_start_can_be_cancelled(configure: Configure, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ModelError, match="cancelled"):
        Server.start(configure(vllm_args=["--hang"]), tmp_path / "vllm.log", quiet, cancel)


def test_it_outlives_the_thread_that_started_it(configure: Configure, tmp_path: Path) -> None:
    started: list[Server] = []
    thread = threading.Thread(target=lambda: started.append(Server.start(configure(), tmp_path / "vllm.log", quiet)))
    thread.start()
    thread.join()
    with started[0] as server:
        assert not wait_for(lambda: not server.running(), seconds=1)


def test_a_server_that_dies_later_says_why(configure: Configure, tmp_path: Path) -> None:
    with Server.start(configure(), tmp_path / "vllm.log", quiet) as server:
        psutil.Process(server._process.pid).children()[0].kill()
        assert wait_for(lambda: not server.running())
        failure = server.failure()
        assert failure is not None
        assert "signal 9" in failure.message
        assert of_session(server._process.pid) == []


def test_a_log_that_was_deleted_is_read_all_the_same(configure: Configure, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    with Server.start(configure(), log, quiet) as server:
        log.unlink()
        assert "Starting to load model" in "".join(server.log_tail(5))
        os.killpg(os.getsid(server.pid), signal.SIGKILL)
        assert wait_for(lambda: server.failure() is not None)


def test_a_log_that_has_grown_begins_anew_and_keeps_what_it_said(configure: Configure, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    with Server.start(configure(), log, quiet) as server:
        server.bound_log()
        assert "Starting to load model" in log.read_text()
        server.bound_log(most=10)
        assert log.read_text() == ""
        assert "Starting to load model" in (tmp_path / "vllm.log.1").read_text()
        with urllib.request.urlopen(f"{server.base_url}/models", timeout=10):
            pass  # of which the stand-in writes a line
        assert wait_for(lambda: "GET /v1/models" in log.read_text())
        assert not log.read_text().startswith("\0")


def test_stop_ends_all_even_where_the_launcher_was_killed(configure: Configure, tmp_path: Path) -> None:
    with Server.start(configure(), tmp_path / "vllm.log", quiet) as server:
        psutil.Process(server._process.pid).kill()
    assert wait_for(lambda: not of_session(server._process.pid))


def start_and_kill(cfg: LlmConfig, log: Path) -> int:
    """Start a server in a process of its own and kill -9 that; returns the id of the server's session."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom core.config import LlmConfig\nfrom llm.serve import Server\n"
        "cfg = LlmConfig.model_validate_json(sys.argv[1])\n"
        "server = Server.start(cfg, Path(sys.argv[2]), lambda line: None)\n"
        "print(server._process.pid, flush=True)\ntime.sleep(600)"
    )
    argv = [sys.executable, "-c", code, cfg.model_dump_json(), str(log)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        leader = int(app.stdout.readline())
        assert len(of_session(leader)) >= 3
        app.send_signal(signal.SIGKILL)
    return leader


def test_it_ends_when_the_app_is_killed(configure: Configure, tmp_path: Path) -> None:
    leader = start_and_kill(configure(), tmp_path / "vllm.log")
    assert wait_for(lambda: not of_session(leader))


# vLLM itself


def real(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.vllm(pytest.mark.slow(test))


@real
def test_vllm_streams_a_chat_completion_to_the_openai_client(vllm_server: Server) -> None:
    import openai

    client = openai.OpenAI(base_url=vllm_server.base_url, api_key="none")

    def pieces(question: str) -> list[str]:
        stream = client.chat.completions.create(
            model=vllm_server.model_name, messages=[{"role": "user", "content": question}], stream=True, max_tokens=500
        )
        return [chunk.choices[0].delta.content or "" for chunk in stream]

    assert "".join(pieces("年假有几天？")) == "The handbook answers this question [1]. 手册里有这个问题的答案 [1]。"
    assert sum(map(bool, pieces("endless"))) > 3  # a short reply may come in one piece where the reader is slow


@real
def test_vllm_drops_a_request_whose_stream_is_closed(vllm_server: Server) -> None:
    import httpx
    import openai

    def in_progress() -> float:
        metrics = httpx.get(vllm_server.base_url.removesuffix("/v1") + "/metrics", trust_env=False).text
        return sum(
            float(row.split()[-1]) for row in metrics.splitlines() if row.startswith("vllm:num_requests_running")
        )

    client = openai.OpenAI(base_url=vllm_server.base_url, api_key="none")
    with client.chat.completions.create(
        model=vllm_server.model_name, messages=[{"role": "user", "content": "endless"}], stream=True, max_tokens=30000
    ) as stream:
        pieces = iter(stream)
        for _ in range(5):
            next(pieces)
        assert in_progress() == 1
    assert wait_for(lambda: in_progress() == 0, seconds=10)


@real
def test_the_port_of_a_running_vllm_is_recognised(vllm_server: Server, vllm_cfg: LlmConfig) -> None:
    with pytest.raises(ModelError, match="taken by a model server that serves tiny-lm") as caught:
        check_port(vllm_cfg)
    assert vllm_server.base_url in caught.value.hint


@real
def test_vllm_stops_and_frees_its_port(vllm_cfg: LlmConfig, port: int, tmp_path: Path) -> None:
    cfg = vllm_cfg.model_copy(update={"vllm_port": port})
    with Server.start(cfg, tmp_path / "vllm.log", quiet) as server:
        leader = server._process.pid
        assert len(of_session(leader)) >= 3
    assert of_session(leader) == []
    check_port(cfg)


@real
def test_vllm_ends_when_the_app_is_killed(vllm_cfg: LlmConfig, port: int, tmp_path: Path) -> None:
    leader = start_and_kill(vllm_cfg.model_copy(update={"vllm_port": port}), tmp_path / "vllm.log")
    assert wait_for(lambda: not of_session(leader))
