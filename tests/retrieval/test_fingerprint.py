import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from core.config import Config, RetrievalConfig
from core.errors import ModelError
from retrieval import fingerprint as module
from retrieval.embed import Embedder
from retrieval.fingerprint import earlier_fingerprint, fingerprint
from retrieval.index import Index
from retrieval.search import search
from tests.retrieval.corpus import build

_SIZE = 5 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of files of every kind that decides a vector; the weights are large."""
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).write_bytes(bytes(_SIZE))
    for name in ("config.json", "vocab.txt", "tokenizer.model", "merges.bpe", "1_Pooling/config.json", "modeling.py"):
        (folder / name).write_text(f"{{}} {name}", encoding="utf-8")
    return folder


def flip(file: Path) -> None:
    """Change one byte in the middle, and set the time of the last write back."""
    info = file.stat()
    with file.open("r+b") as handle:
        handle.seek(info.st_size // 2)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes((byte[0] ^ 1,)))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_NS", 0)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "config.json", "vocab.txt", "tokenizer.model", "merges.bpe",
     "1_Pooling/config.json", "modeling.py"],
)  # fmt: skip
def test_one_byte_of_any_file_that_decides_a_vector_tells(model: Path, tmp_path: Path, name: str) -> None:
    memory = tmp_path / "hashes.json"
    before = fingerprint(model, memory)
    assert fingerprint(model, memory) == fingerprint(model) == before
    flip(model / name)
    assert fingerprint(model, memory) == fingerprint(model) != before


@pytest.mark.usefixtures("settled")
def test_a_file_that_is_added_renamed_or_swapped_tells_and_a_read_me_does_not(model: Path, tmp_path: Path) -> None:
    memory = tmp_path / "hashes.json"
    seen = [fingerprint(model, memory)]
    (model / "README.md").write_text("About it.", encoding="utf-8")
    (model / ".cache").mkdir()
    (model / ".cache" / "state.json").write_text("{}", encoding="utf-8")
    assert fingerprint(model, memory) == seen[0]
    (model / "modules.json").write_text("[]", encoding="utf-8")
    seen.append(fingerprint(model, memory))
    (model / "vocab.txt").rename(model / "words.txt")
    seen.append(fingerprint(model, memory))
    other = tmp_path / "other"
    other.write_bytes(b"\1" * _SIZE)
    info = (model / "model.safetensors").stat()
    os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
    other.replace(model / "model.safetensors")
    seen.append(fingerprint(model, memory))
    assert len(set(seen)) == 4


@pytest.mark.usefixtures("settled")
def test_what_is_large_and_unchanged_is_not_read_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = module.hashlib.file_digest

    def counted(handle, kind):  # noqa: ANN001, ANN202
        read.append(Path(handle.name).name)
        return whole(handle, kind)

    monkeypatch.setattr(module, "hashlib", SimpleNamespace(file_digest=counted, blake2b=module.hashlib.blake2b))
    memory = tmp_path / "hashes.json"
    before = fingerprint(model, memory)
    assert {"model.safetensors", "pytorch_model.bin"} <= set(read)
    read.clear()
    assert fingerprint(model, memory) == before
    assert {"model.safetensors", "pytorch_model.bin"}.isdisjoint(read)


def test_what_was_just_written_is_not_remembered(model: Path, tmp_path: Path) -> None:
    memory = tmp_path / "hashes.json"
    fingerprint(model, memory)
    assert not memory.exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', '{"x": [1, 2, 3, 4, 5, 6, 7]}', "\udc80"])
def test_a_memory_that_holds_anything_else_is_no_matter(model: Path, tmp_path: Path, text: str) -> None:
    memory = tmp_path / "hashes.json"
    memory.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert fingerprint(model, memory) == fingerprint(model)
    assert fingerprint(model, tmp_path / "no such folder" / "hashes.json") == fingerprint(model)
    assert len(json.loads(memory.read_text("utf-8"))) >= 2


def of_an_earlier_version(index: Index, embedder: Embedder) -> None:
    index.catalog.set_meta("embedder", embedder.earlier_identity)


def test_a_knowledge_base_of_an_earlier_version_goes_on_and_says_so_in_the_new_form(
    cfg: Config, embedder: Embedder
) -> None:
    index = build(cfg, embedder)
    data = Path(cfg.app.data)
    before = search(index, ["annual leave"], cfg.retrieval)
    for opened in (
        lambda: Index.open(data, "kb", Embedder(embedder.cfg)),
        lambda: Index.open_or_create(data, "kb", Embedder(embedder.cfg), index.catalog.manifest().chunker),
    ):
        of_an_earlier_version(index, embedder)
        again = opened()
        assert again.catalog.manifest().embedder == embedder.identity != embedder.earlier_identity
        assert search(again, ["annual leave"], cfg.retrieval) == before
        again.close()
    index.close()


def test_an_earlier_form_that_is_of_another_model_is_not_taken(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedder._folder() or "", folder)
    other = Embedder(RetrievalConfig(embedder=str(folder), precision="float32"))
    assert other.earlier_identity != embedder.earlier_identity
    index = build(cfg, embedder)
    of_an_earlier_version(index, embedder)
    assert Index.open(Path(cfg.app.data), "kb", other).embedder.name == embedder.name
    index.close()


def test_a_model_of_a_hub_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = ["1" * 40]

    def cached(repo: str, file: str, revision: str | None = None) -> str | None:
        return str(tmp_path / "snapshots" / commit[0] / file) if repo == "maker/name" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)

    def identity(name: str) -> str:
        embedder = Embedder(RetrievalConfig(embedder=name))
        vars(embedder)["_model"] = SimpleNamespace(prompts={})
        return embedder.identity

    before = identity("maker/name")
    assert identity("maker/name") == before
    commit[0] = "2" * 40
    assert identity("maker/name") != before
    with pytest.raises(ModelError, match="which revision"):
        identity("maker/unknown")


@pytest.mark.usefixtures("settled")
def test_a_process_reads_large_files_once_whatever_file_remembers_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = hashlib.file_digest

    def noted(handle: Any, name: str) -> Any:
        read.append(Path(handle.name).suffix)
        return whole(handle, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    first = fingerprint(model)
    assert {".safetensors", ".bin"} <= set(read)
    read.clear()
    assert fingerprint(model, tmp_path / "other.json") == first
    assert not {".safetensors", ".bin"} & set(read)
    assert len(json.loads((tmp_path / "other.json").read_text())) == 2


def test_earlier_forms_see_less(model: Path) -> None:
    before = earlier_fingerprint(model)
    flip(model / "model.safetensors")
    flip(model / "pytorch_model.bin")
    assert earlier_fingerprint(model) == before


@pytest.mark.parametrize("use", [lambda e: e.identity, lambda e: e.read(["a text"]), lambda e: e.embed_query("a text")])
def test_threads_that_ask_at_once_load_one_model(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch, use: Callable[[Embedder], object]
) -> None:
    import sentence_transformers

    loaded: list[object] = []
    whole = sentence_transformers.SentenceTransformer

    def counted(*args: object, **kwargs: object) -> object:
        loaded.append(whole(*args, **kwargs))  # type: ignore[arg-type]
        return loaded[-1]

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", counted)
    fresh = Embedder(embedder.cfg)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: use(fresh), range(6)))
    assert len(loaded) <= 1
