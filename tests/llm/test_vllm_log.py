"""What a log of vLLM says to people."""

from pathlib import Path

import pytest

from llm.vllm_log import explain, last_step

# Lines of logs that vLLM 0.32.0 left when it was made to fail; the three GPU ones are from its source.
LOGS = {
    "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` to "
    "turn on verbose logging to help debug the issue.": ("no GPU", "llm.vllm_build"),
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": ("GPU has too little", "vllm_memory"),
    "ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 71.2 GiB). Decrease GPU memory utilization": ("GPU has too little", "llm.vllm_memory"),
    "(EngineCore pid=17269) ERROR 11-21 00:55:13 [core.py:1510] ValueError: Available memory on node 0 (13.19/14.71 "
    "GiB) on kv cache allocation is less than requested memory for kv (500.0 GiB).": (
        "too little free memory",
        "llm.vllm_cpu_kv_gb",
    ),
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 4000000000000000 bytes.": ("too little memory for this model", "llm.vllm_cpu_kv_gb"),
    "ValueError: To serve at least one request with the model's max seq len (32768), (0.01 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (0.0 GiB).": ("cache is too small", "llm.vllm_max_model_len"),
    "  Value error, User-specified max_model_len (9999999) is greater than the derived max_model_len "
    "(max_position_embeddings=32768.0": ("llm.vllm_max_model_len is larger", "leave it 0"),
    "  Value error, Model architectures ['FooForCausalLM'] are not supported for now. Supported": (
        "architecture",
        "llm.vllm_env",
    ),
    "OSError: [Errno 98] Address already in use": ("llm.vllm_port was taken", "llm.vllm_port"),
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached "
    "files.": ("could not be downloaded", "llm.vllm_model"),
    "RuntimeError: Cannot find any model weights with `/models/tiny`": ("missing or damaged", "safetensors"),
    "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not "
    "fully covered": ("missing or damaged", "download the model again"),
    "vllm: error: unrecognized arguments: --no-such-flag": ("--no-such-flag", "llm.vllm_args"),
    "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory": (
        "not complete",
        "llm.vllm_env",
    ),
}


@pytest.mark.parametrize(("line", "expected"), LOGS.items(), ids=[words for words, _ in LOGS.values()])
def test_a_failure_is_explained_by_its_log(line: str, expected: tuple[str, str]) -> None:
    log = f"INFO 11-21 00:53:21 [model.py:733] Resolved architecture\n{line}\nRuntimeError: Engine core failed\n"
    error = explain(log, 1, Path("/data/vllm.log"))
    assert expected[0] in error.message
    assert expected[1] in error.hint
    assert "/data/vllm.log" in error.hint


@pytest.mark.parametrize("code", [-9, 137])
def test_a_kill_is_explained_as_lack_of_memory(code: int) -> None:
    assert "signal 9" in explain("INFO all is well\n", code, Path("vllm.log")).message


def test_an_engine_that_ends_without_a_word_was_killed() -> None:
    log = (
        "(EngineCore pid=9) INFO 11-21 00:50:05 [cpu_model_runner.py:68] Starting to load model\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    )
    assert "signal 9" in explain(log, 1, Path("vllm.log")).message
    assert "exit code 1" in explain("(EngineCore pid=9) ERROR 11-21 its reason\n" + log, 1, Path("vllm.log")).message


def test_an_unknown_failure_shows_the_end_of_the_log_and_its_path() -> None:
    error = explain("".join(f"line {n}\n" for n in range(100)), 3, Path("/data/vllm.log"))
    assert "exit code 3" in error.message
    assert "line 99" in error.message
    assert "line 50" not in error.message
    assert "/data/vllm.log" in error.hint


def test_the_last_step_skips_warnings_banners_and_code() -> None:
    log = (
        "(APIServer pid=12) INFO 11-21 00:49:57 [model.py:733] Resolved architecture: Qwen3ForCausalLM\n"
        "(APIServer pid=12) INFO 11-21 00:49:57 [api_utils.py:347]  ▄▄ ▄█ █     █     █ ▀▄▀ █\n"
        "(APIServer pid=12) WARNING 11-21 00:49:57 [vllm.py:1703] Enforce eager set\n"
        '/venv/dispatcher.py:138: FutureWarning: deprecated\n  if hasattr(value, "__dict__"):\n'
    )
    assert last_step(log) == "Resolved architecture: Qwen3ForCausalLM"
    assert last_step(log + "Loading shards:   0% Completed\rLoading shards:  50% Completed") == (
        "Loading shards:  50% Completed"
    )
    assert last_step("") == "its libraries are being loaded"
