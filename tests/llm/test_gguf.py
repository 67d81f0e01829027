"""GGUF files: what their headers say, which are refused, and the folder that is made of a real one."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from core.errors import ModelError
from llm import registry
from llm.fit import config_of, weight_bytes
from llm.gguf import header, unpack
from llm.hub import Hub
from llm.pull import pull, take
from tests.llm.hub import COMMIT, REPO, serving


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def file_of(
    values: dict[str, str | int], tensors: list[tuple[str, tuple[int, ...], int, int]], body: bytes = b"",
    counts: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """A GGUF file of single values, and of tensors by name, shape, type and offset."""
    told = b"GGUF" + struct.pack("<IQQ", 3, *(counts or (len(tensors), len(values))))
    for name, value in values.items():
        told += text(name)
        told += struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    for name, shape, kind, offset in tensors:
        told += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return told + b"\0" * (-len(told) % 32) + body


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "some.gguf"


TENSORS = [("a", (64, 2), 3, 0), ("b", (64,), 0, 96)]  # 128 weights in blocks of 32 and 20 bytes; 64 in float32
WHOLE = file_of({"general.architecture": "llama", "n": 7}, TENSORS, b"\0" * (96 + 256))


def test_a_header_tells_values_and_tensors_by_type(written: Path) -> None:
    written.write_bytes(WHOLE)
    told = header(written)
    assert (told.architecture, told.values["n"]) == ("llama", 7)
    assert (told.tensors, told.bytes) == ({"Q4_1": 1, "F32": 1}, {"Q4_1": 80, "F32": 256})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ""),
        (b"PK\3\4" + WHOLE[4:], "does not begin"),
        (WHOLE[:4] + struct.pack("<I", 9) + WHOLE[8:], "version 9"),
        (WHOLE[:-1], "1 bytes are missing"),
        (WHOLE[:60], ""),
        (file_of({}, [], counts=(1 << 60, 0)), "more than its size allows"),
        (file_of({}, [], counts=(0, 1 << 60)), "more than its size allows"),
        (file_of({}, [("a", (1 << 62,), 0, 0)]), "missing at its end"),
        (file_of({}, [("a", (1,), 777, 0)]), "type 777"),
        (file_of({"general.alignment": 0}, []), "alignment"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60) + b"x" * 40, "more than its size allows"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 60), "its size allows"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), ""),
    ],
)
def test_another_or_a_damaged_file_is_refused(written: Path, content: bytes, words: str) -> None:
    written.write_bytes(content)
    with pytest.raises(ModelError, match="is no whole GGUF file") as caught:
        header(written)
    assert words in caught.value.message


def test_what_transformers_does_not_read_is_refused_in_one_line(written: Path, tmp_path: Path) -> None:
    written.write_bytes(file_of({"general.architecture": "none-such"}, []))
    with pytest.raises(ModelError, match="cannot be made into a model") as caught:
        unpack(written, tmp_path / "made")
    assert "safetensors" in caught.value.hint
    assert "\n" not in caught.value.message
    written.write_bytes(file_of({"general.architecture": "llama", "split.count": 3}, []))
    with pytest.raises(ModelError, match="one part of several"):
        unpack(written, tmp_path / "made")


@pytest.mark.slow
def test_a_file_of_this_machine_becomes_a_folder_that_answers(smollm_gguf: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = take(tmp_path, smollm_gguf, "smol", lambda line: None)
    assert done.folder == tmp_path / "models/smol"
    record = registry.read_record(done.folder)
    assert record["kind"] == "pulled"
    told = record["gguf"]
    assert told["dequantized"] == {"Q4_1": 210, "Q8_0": 1}
    assert (told["architecture"], told["licence"], told["dtype"]) == ("llama", "apache-2.0", "bfloat16")
    assert told["notes"] == []
    assert 0.99 < told["quantized_share"] < 1
    config = config_of(done.folder)
    assert (config["tie_word_embeddings"], config["vocab_size"], config["dtype"]) == (True, 49152, "bfloat16")
    assert weight_bytes(done.folder) == 2 * 134_515_008  # the embeddings once
    assert json.loads((done.folder / "tokenizer_config.json").read_text())["model_max_length"] == 8192
    tokenizer: Any = AutoTokenizer.from_pretrained(str(done.folder), local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(str(done.folder), local_files_only=True)
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    new = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(new, skip_special_tokens=True) == "The capital of France is Paris."
    assert tokenizer.tokenize("pay 1234") == ["pay", "Ġ", "1", "2", "3", "4"]
    again = take(tmp_path, smollm_gguf, "smol", lambda line: None)
    assert again.folder == done.folder


@pytest.mark.slow
def test_the_file_of_a_hub_is_fetched_checked_and_unpacked(smollm_gguf: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "q4").mkdir(parents=True)
    (repository / "q4" / "model.gguf").symlink_to(smollm_gguf)
    (repository / "LICENSE").write_text("Apache-2.0")
    (repository / "config.json").write_text("{}")
    with serving(repository) as stand_in:
        hub = Hub("huggingface", stand_in.address, "")
        done = pull(tmp_path, hub, REPO, "", "", lambda line: None)
        assert done.revision == COMMIT
        assert weight_bytes(done.folder) == 2 * 134_515_008
        names = {file.name for file in done.folder.iterdir()}
        assert names >= {"LICENSE", "config.json", "model.safetensors", "chat_template.jinja", "run.json"}
        assert not names & {"q4", "model.gguf"}
        assert registry.read_record(done.folder)["gguf"]["dequantized"] == {"Q4_1": 210, "Q8_0": 1}
        asked = len(stand_in.asked)
        assert pull(tmp_path, hub, REPO, "", "", lambda line: None).fetched == 0
        assert len(stand_in.asked) == asked
        (repository / "other.gguf").write_bytes(WHOLE)
        with pytest.raises(ModelError, match="has 2 GGUF files") as caught:
            pull(tmp_path, hub, REPO, "", "second", lambda line: None)
        assert "--file other.gguf" in caught.value.hint
        with pytest.raises(ModelError, match="has no GGUF file 'absent"):
            pull(tmp_path, hub, REPO, "", "second", lambda line: None, file="absent.gguf")
        with pytest.raises(ModelError, match="it lacks weights"):
            pull(tmp_path, hub, REPO, "", "second", lambda line: None, file="other.gguf")
        assert not (tmp_path / "models/second").exists()
