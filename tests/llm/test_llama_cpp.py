"""llama.cpp itself: a model exported as a GGUF file and served by it, and what the app says to such a server."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from core.config import LlmConfig
from core.errors import ConfigError, ModelError
from llm.chat import stream, whole
from llm.endpoint import Endpoint, probe
from llm.gguf import header, unpack
from llm.gguf_export import export
from tests import llama_cpp

pytestmark = pytest.mark.slow
CONTEXT = 1024
TEXTS = (
    "In 2024 we paid 12,345.67 €.",
    "第十二条 员工每年可享受10天年休假。",
    "def f(x):\n    return x  # ok",
    "don't WON'T  a\t b",
)


@pytest.fixture(scope="module")
def llm() -> LlmConfig:
    return LlmConfig(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def exported(smollm: Path, llm: LlmConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "smollm.gguf"
    told = export(llm, smollm, file, "bf16", lambda line: None)
    assert (told["architecture"], told["tokenizer"], told["bytes"]) == ("llama", "smollm", file.stat().st_size)
    assert set(told["tensors"]) == {"BF16", "F32"}
    assert [*file.parent.iterdir()] == [file]
    return file


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[str]:
    with llama_cpp.serving(exported, CONTEXT) as address:
        yield address


def asked(server: str, **fields: Any) -> dict[str, Any]:
    """By what llama.cpp drew the words of a request."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1} | fields
    httpx.post(f"{server}/v1/chat/completions", json=body, timeout=60, trust_env=False).raise_for_status()
    return httpx.get(f"{server}/slots", trust_env=False).json()[0]["params"]


def test_an_exported_model_says_there_what_it_says_here(server: str, smollm: Path, llm: LlmConfig) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    endpoint = Endpoint(f"{server}/v1", "exported", "")
    question = "What is the capital of France?"
    there = asyncio.run(whole(stream(endpoint, llm, [HumanMessage(question)])))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(smollm))
    model: Any = AutoModelForCausalLM.from_pretrained(str(smollm))
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = model.generate(**chat, do_sample=False, max_new_tokens=llm.max_tokens)[0, chat["input_ids"].shape[1] :]
    assert there.strip() == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert "Paris" in there
    for text in TEXTS:  # cut there by the rule that the file names
        told = httpx.post(f"{server}/tokenize", json={"content": text}, trust_env=False).json()
        assert told["tokens"] == tokenizer.encode(text, add_special_tokens=False), text


def test_an_exported_model_comes_back_with_the_same_weights(exported: Path, smollm: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    back = tmp_path / "back"
    back.mkdir()
    unpack(exported, back)
    before, after = load_file(smollm / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(bool((before[name] == after[name]).all()) for name in before)


def test_eight_bits_take_half_of_sixteen(exported: Path, smollm: Path, llm: LlmConfig, tmp_path: Path) -> None:
    told = export(llm, smollm, tmp_path / "small.gguf", "q8_0", lambda line: None)
    assert 0.5 < told["bytes"] / exported.stat().st_size < 0.57
    assert header(tmp_path / "small.gguf").tensors["Q8_0"] > 200


def test_llama_cpp_draws_by_what_the_settings_say_and_not_by_its_own(server: str, llm: LlmConfig) -> None:
    own = asked(server)
    assert (own["top_k"], own["min_p"] > 0) == (40, True)  # what it takes where nothing is said
    settings = {"temperature": 0.5, "top_p": 0.9, "top_k": 0, "repetition_penalty": 1.3, "seed": 7, "max_tokens": 1}
    cfg = llm.model_copy(update=settings)
    asyncio.run(whole(stream(Endpoint(f"{server}/v1", "exported", ""), cfg, [HumanMessage("Hello")])))
    drawn = httpx.get(f"{server}/slots", trust_env=False).json()[0]["params"]
    assert (drawn["top_k"] <= 0, drawn["min_p"], drawn["seed"], drawn["temperature"]) == (True, 0.0, 7, 0.5)
    assert (round(drawn["repeat_penalty"], 3), round(drawn["top_p"], 3)) == (1.3, 0.9)


def test_the_context_that_llama_cpp_tells_is_known_and_what_does_not_fit_is_said(server: str, llm: LlmConfig) -> None:
    cfg = llm.model_copy(update={"base_url": f"{server}/v1", "backend": "openai"})
    endpoint = asyncio.run(probe(cfg.base_url, cfg))
    assert (endpoint.model, endpoint.context) == ("exported", CONTEXT)
    with pytest.raises(ModelError) as caught:
        asyncio.run(whole(stream(endpoint, cfg, [HumanMessage("word " * 2 * CONTEXT)])))
    assert "context" in caught.value.message


def copied(smollm: Path, folder: Path, file: str, **more: Any) -> Path:
    """The model, with more in one of its files."""
    shutil.copytree(smollm, folder)
    told = json.loads((folder / file).read_text("utf-8"))
    (folder / file).write_text(json.dumps(told | more), "utf-8")
    return folder


def test_what_cannot_become_a_gguf_file_leaves_nothing_and_is_told_why(
    exported: Path, smollm: Path, llm: LlmConfig, tmp_path: Path
) -> None:
    def refused(model: Path, file: Path) -> str:
        with pytest.raises((ConfigError, ModelError)) as caught:
            export(llm, model, file, "q8_0", lambda line: None)
        return caught.value.message

    held, out = exported.read_bytes(), tmp_path / "out.gguf"
    assert "is there already" in refused(smollm, exported)
    assert exported.read_bytes() == held
    assert "there is no folder" in refused(smollm, tmp_path / "none" / "out.gguf")
    (tmp_path / "empty").mkdir()
    assert "no *.safetensors" in refused(tmp_path / "empty", out)
    code = copied(
        smollm, tmp_path / "code", "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", None]}
    )
    assert "code of its own" in refused(code, out)
    unknown = copied(smollm, tmp_path / "unknown", "config.json", architectures=["NoSuchForCausalLM"])
    assert "does not know the architecture" in refused(unknown, out)
    cut = copied(smollm, tmp_path / "cut", "tokenizer.json", pre_tokenizer={"type": "Whitespace"})
    assert "does not know the tokenizer" in refused(cut, out)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["code", "cut", "empty", "unknown"]
