"""What the doctor says of the model path: files, memory, kernels, endpoints, the prompt budget, replicas."""

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from app.messages.errors_zh import says
from app.upkeep.doctor import Check, examine, verdict
from core import plugins
from core.config import Config, load
from core.types import Document
from llm import supervise
from tests.app.stub_model import MODEL, Stub
from tests.fixtures_vllm import free_port

PASSAGES = 3000


def configured(tmp_path: Path, **keys: object) -> Config:
    flags = {"app.data": str(tmp_path / "data"), "retrieval.context_tokens": PASSAGES, "llm.vllm_build": "cpu",
             "llm.vllm_cpu_kv_gb": 1, "llm.vllm_port": free_port()}  # fmt: skip
    return load(flags=flags | {name.replace("__", "."): value for name, value in keys.items()}, environ={}).config


def checks(tmp_path: Path, **keys: object) -> dict[str, Check]:
    return {check.name: check for check in examine(configured(tmp_path, **keys))}


@contextmanager
def answering(path: str, body: object) -> Iterator[str]:
    """A server that lists one model and answers POSTs to one path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "a-model"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(200, body) if self.path == path else self.reply(404, {})

        def reply(self, status: int, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


EMBEDDING = ("/v1/embeddings", {"data": [{"embedding": [0.1, 0.2]}]})
RERANK = ("/v1/rerank", {"results": [{"index": 0, "relevance_score": 0.5}]})
CHAT = ("/v1/chat/completions", {"choices": [{"message": {"role": "assistant", "content": "Hi"}}]})


def test_a_chat_endpoint_is_found_to_be_one(tmp_path: Path) -> None:
    with answering(*CHAT) as url:
        check = checks(tmp_path, llm__base_url=url)["endpoint llm.base_url"]
    assert check == Check(
        "endpoint llm.base_url", True, f"a-model at {url}; chat: yes, embedding: no (HTTP 404), rerank: no (HTTP 404)"
    )


def test_an_embedding_server_in_the_place_of_a_chat_model_is_named_as_what_it_is(tmp_path: Path) -> None:
    with answering(*EMBEDDING) as url:
        check = checks(tmp_path, llm__base_url=url)["endpoint llm.base_url"]
    assert not check.ok
    assert "embedding: yes" in check.detail
    assert "it is a server for embedding; llm.base_url needs one that answers chat" in check.hint


def test_a_reranker_is_asked_to_rerank(tmp_path: Path) -> None:
    with answering(*RERANK) as url:
        assert checks(tmp_path, retrieval__rerank_url=url)["endpoint retrieval.rerank_url"].ok
    with answering(*CHAT) as url:
        check = checks(tmp_path, retrieval__rerank_url=url)["endpoint retrieval.rerank_url"]
    assert not check.ok
    assert "needs one that answers rerank" in check.hint


def test_an_answer_in_another_form_is_no_proof(tmp_path: Path) -> None:
    with answering(CHAT[0], {"choices": []}) as url:
        check = checks(tmp_path, llm__base_url=url)["endpoint llm.base_url"]
    assert "chat: no (an answer in another form)" in check.detail


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    check = checks(tmp_path, llm__base_url="http://127.0.0.1:9/v1")["endpoint llm.base_url"]
    assert not check.ok
    assert "http://127.0.0.1:9/v1" in check.detail


def test_a_prompt_that_fits_and_one_that_does_not(tmp_path: Path, stub: Stub) -> None:
    fits = checks(tmp_path, llm__base_url=stub.base_url, llm__max_tokens=256, retrieval__context_tokens=2000)
    assert fits["prompt budget"].ok
    assert fits["prompt budget"].detail.endswith("of 4096")
    cut = checks(tmp_path, llm__base_url=stub.base_url, llm__max_tokens=1500)["prompt budget"]
    assert cut.ok
    assert "the model reads 4096: passages get" in cut.detail
    template = int(cut.detail.split("template about ")[1].split(":")[0])
    assert cut.detail.endswith(f"passages get {4096 - 1500 - template}")
    assert "llm.max_tokens" in cut.hint
    assert MODEL in checks(tmp_path, llm__base_url=stub.base_url)["answers"].detail


def test_a_model_that_fits_is_reckoned(tmp_path: Path, tiny_lm: Path) -> None:
    found = checks(tmp_path, llm__vllm_model=str(tiny_lm))
    assert found["model files"].ok
    assert "with a chat template, not quantized" in found["model files"].detail
    # one layer, one KV head of 64, keys and values in 16 bits: 256 bytes of a GiB
    assert f"room for {(1 << 30) // 256:,} tokens" in found["memory"].detail
    assert found["memory"].ok


def test_a_cache_smaller_than_the_context_or_larger_than_the_memory_is_said(tmp_path: Path, tiny_lm: Path) -> None:
    config = json.loads((tiny_lm / "config.json").read_text())
    large = tmp_path / "large"
    large.mkdir()
    for file in tiny_lm.iterdir():
        (large / file.name).symlink_to(file)
    (large / "config.json").unlink()
    (large / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 500, "layer_types": None}))
    check = checks(tmp_path, llm__vllm_model=str(large))["memory"]
    assert not check.ok
    assert f"set llm.vllm_max_model_len to at most {(1 << 30) // (256 * 500)}" in check.hint
    check = checks(tmp_path, llm__vllm_model=str(tiny_lm), llm__vllm_cpu_kv_gb=1024)["memory"]
    assert not check.ok
    assert "it does not fit" in check.detail


def test_a_format_without_a_kernel_here_is_said(tmp_path: Path, tiny_lm: Path) -> None:
    folder = tmp_path / "quantized"
    folder.mkdir()
    for file in tiny_lm.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((tiny_lm / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    check = checks(tmp_path, llm__vllm_model=str(folder))["kernels"]
    assert not check.ok
    assert "no kernel for bitsandbytes" in check.detail


def test_a_model_that_cannot_be_served_is_said(tmp_path: Path, tiny_lm: Path) -> None:
    check = checks(tmp_path, llm__vllm_model=str(tmp_path / "none"))["model files"]
    assert not check.ok
    assert "there is no folder" in check.detail
    hub = checks(tmp_path, llm__vllm_model="maker/some-model")["model files"]
    assert hub.ok
    assert "ragstone pull maker/some-model" in hub.hint
    open_to_all = checks(tmp_path, llm__vllm_model=str(tiny_lm), llm__vllm_lora_rank=8, llm__vllm_host="0.0.0.0")
    assert "adapters may not be loaded" in open_to_all["model files"].detail


def test_a_model_folder_is_judged_before_it_is_served_whoever_answers_by_now(
    tmp_path: Path, tiny_lm: Path, stub: Stub
) -> None:
    cfg = configured(tmp_path, llm__base_url=stub.base_url, llm__backend="openai", llm__vllm_env=str(tmp_path / "none"))
    good = verdict(cfg, str(tiny_lm))
    assert [(check.name, check.ok) for check in good] == [
        ("model files", True), ("memory", True), ("vLLM's environment", True),
    ]  # fmt: skip
    assert "downloaded" in good[-1].hint
    for check in good:
        assert re.search("[\u4e00-\u9fff]", says(check.name, "zh"))
        assert re.search("[\u4e00-\u9fff]|^/", says(check.detail, "zh"))
    (bad,) = verdict(cfg, str(tmp_path))
    assert not bad.ok


def test_replicas_of_the_running_app_are_told_with_their_crashes(tmp_path: Path, tiny_lm: Path) -> None:
    cfg = configured(tmp_path, llm__vllm_model=str(tiny_lm))
    log = Path(cfg.app.data) / "logs/vllm.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\nCUDA went away\n")
    crash = {"when": "2030-01-01 00:00:00", "cause": "vLLM failed: the GPU has too little free memory"}
    replica = {"pid": 0, "since": 0.0, "restarts": 5, "crashes": [crash], "log": str(log)}
    rows = [replica | {"base_url": "http://127.0.0.1:1/v1", "state": "failed"},
            replica | {"base_url": "http://127.0.0.1:2/v1", "state": "waiting", "crashes": []}]  # fmt: skip
    told = {"model": "tiny-lm", "owner": os.getpid(), "replicas": rows}
    supervise.status_file(log).write_text(json.dumps(told))
    found = {check.name: check for check in examine(cfg)}
    failed, waiting = found["vLLM at http://127.0.0.1:1/v1"], found["vLLM at http://127.0.0.1:2/v1"]
    assert (failed.ok, waiting.ok) == (False, True)
    assert "the GPU has too little free memory" in failed.hint
    assert "CUDA went away" in failed.hint
    assert "failed, 5 restarts" in failed.detail
    supervise.status_file(log).write_text(json.dumps(told | {"owner": _gone()}))
    assert not any(check.name.startswith("vLLM at") for check in examine(cfg))


def _gone() -> int:
    """The id of no process."""
    return next(number for number in range(4_000_000, 1, -1) if not psutil.pid_exists(number))


class Reads:
    """A reader that is whole."""

    def __init__(self, option: int = 0) -> None:
        self.option = option

    def read(self, data: bytes, name: str) -> Document:
        return Document(data.decode())


class Needs(Reads):
    """A reader with a setting that must be there."""

    def __init__(self, option: int) -> None:
        super().__init__(option)


class Reader:
    """No reader: it reads nothing."""


def test_a_reader_is_made_and_one_that_no_file_is_read_by_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    classes = {".wy": "Reads", "LAB": "Needs", "xyz": "Reader", "md": "Reads", "csv": "Reads", "tar.gz": "Reads"}
    rows = "".join(f"{name} = {__name__}:{made}\n" for name, made in classes.items())
    (info / "entry_points.txt").write_text(f"[ragstone.readers]\n{rows}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    plugins._entries.cache_clear()
    try:
        named = {".csv": "plugin:csv", ".tab": "plugin:lab"}
        found = checks(tmp_path, ingest__readers=named, ingest__reader_settings={".tab": {"option": 1}})
        told = {name: (check.ok, check.detail.partition("(ragstone.readers)")[2]) for name, check in found.items()}
        assert told["plug-in 'wy'"] == told["plug-in 'csv'"] == (True, "")
        assert not told["plug-in 'lab'"][0]
        assert "missing 1 required positional argument: 'option'" in told["plug-in 'lab'"][1]
        assert found["reader of .tab"].ok
        assert told["plug-in 'xyz'"] == (False, ": plug-in 'xyz' of acme 1 has no method 'read'")
        assert told["plug-in 'tar.gz'"] == (False, ": '.tar.gz' is no suffix of files")
        unused = '; not used: Ragstone reads .md itself; [ingest] readers = { ".md" = "plugin:md" } changes that'
        assert told["plug-in 'md'"] == (True, unused)
    finally:
        plugins._entries.cache_clear()
