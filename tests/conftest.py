"""Fixtures that every test may use: real small parts, nothing from the network."""

import gc
import os
import re
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import app.ui  # noqa: F401  # before any test imports Gradio, which else writes stubs beside its modules
from core.config import Config, load
from core.types import F32
from retrieval.embed import Embedder
from retrieval.light import Light

pytest_plugins = ["tests.fixtures_vllm", "tests.fixtures_smollm", "tests.fixtures_postgres"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores Ctrl-C, and what it starts would too

# Of an example no test says how long it may take: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
# The small English embedder, where what is tested does not depend on which it is; in float32, so that the same text
# gives the same vector whatever it is batched with.
os.environ.setdefault("RAGSTONE_RETRIEVAL__EMBEDDER", "english")  # of what tests start
SMALL = {"retrieval.embedder": "english", "retrieval.precision": "float32"}

_FEW = 40  # that failed may have waited for a busy machine; more did not
_LONG = ("vllm", "compressor", "browser", "slow")  # markers, longest first
_HEAVY = {  # lanes of `--quick`, and what their files name
    "torch": re.compile(r"\b(?:torch|peft|sentence_transformers|learning_lm|suited|suits)\b"),
    "gradio": re.compile(r"\b(?:gradio|app\.ui)\b"),
    "frameworks": re.compile(r"\b(?:langchain_core|llama_index)\b"),
}
_SERVES = re.compile(r"mark\.vllm|\bvllm_(?:server|cfg)\b")
_ALL_LONG = re.compile(rf"^pytestmark = .*\bmark\.(?:{'|'.join(_LONG)})\b", re.MULTILINE)
_LONGEST = "tests/app/test_model_path_real.py"  # trains most of the time
_BY_DAY = "not nightly"  # -m, by default
_ALL_NIGHTLY = re.compile(r"^pytestmark = .*\bmark\.nightly\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help=f"leave out what is marked {', '.join(_LONG)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that is marked as a whole, and left out, is not even imported: by `--quick`, or by day.

    Such files import torch, peft, a browser's driver; and each worker imports every file that it collects.
    """
    left_out = [marked for marked, out in (
        (_ALL_LONG, config.getoption("quick")), (_ALL_NIGHTLY, config.getoption("markexpr") == _BY_DAY),
    ) if out]  # fmt: skip
    if not left_out or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text("utf-8")
    return any(marked.search(text) for marked in left_out) or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: while it is, no garbage is looked for among it, and none is later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # so that what still stands is collected while modules are there


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file is a lane, since its tests share what they set up; so are all that need vLLM, which takes both cores,
    but for the longest of them.

    With `--quick`, so are all that load the same heavy library, that of two workers one need not.

    (`--dist loadgroup` groups nothing with pytest 9.2: pytest-xdist 3.8 writes the group where it is no longer read.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _lane(nodeid.partition("::")[0], config.getoption("quick"))

    return Lanes(config, log)


@cache
def _lane(file: str, quick: bool) -> str:
    text = (ROOT / file).read_text("utf-8")
    if _SERVES.search(text) and file != _LONGEST:
        return "vllm"
    heavy = (lane for lane, named in _HEAVY.items() if named.search(text)) if quick else ()
    return next(iter(heavy), file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long begin first, and of the rest the lanes of several files.

    `--dist loadscope --no-loadscope-reorder` keeps this order.
    """
    if config.getoption("lf", False) and len(items) > _FEW:
        pytest.exit(f"{len(items)} tests failed: too many to run once more, alone", 1)
    if config.getoption("quick"):
        left_out = {item for item in items if any(item.get_closest_marker(name) for name in _LONG)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    ranks: dict[str, int] = {}
    for item in items:
        file = _file(item)
        shared = _lane(file, config.getoption("quick")) != file
        least = len(_LONG) - shared
        rank = next((n for n, name in enumerate(_LONG) if item.get_closest_marker(name)), least)
        ranks[file] = min(rank, ranks.get(file, rank))
    items.sort(key=lambda item: ranks[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]  # `location` reads the source of each test


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """In place of a letter, what fails is named as it fails: who sees a long run stopped knows why."""
    if not report.failed:
        return None
    kind = "failed" if report.when == "call" else "error"
    return kind, f"\n{report.nodeid}: {kind}\n", kind.upper()


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The small built-in model."""
    return Embedder(load(flags=SMALL, environ={}).config.retrieval)


_vectors: WeakKeyDictionary[Light, dict[str, F32]] = WeakKeyDictionary()


@pytest.fixture(scope="module", autouse=True)
def each_text_is_embedded_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """A process remembers the vectors that the built-in models make, since most tests embed the same few texts.

    A module that tests how they are made says `EMBEDS_ANEW = True`.
    """
    if getattr(request.module, "EMBEDS_ANEW", False):
        yield
        return
    made = Light.vectors

    def remembered(self: Light, texts: Sequence[str]) -> F32:
        known = _vectors.setdefault(self, {})
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, made(self, new), strict=True))
        return np.stack([known[text] for text in texts])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Light, "vectors", remembered)
        yield


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """The default configuration with a data folder of its own, and the small embedder."""
    flags = {"app.data": str(tmp_path / "data"), "llm.backend": "extractive"} | SMALL
    return load(flags=flags, environ={}).config


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file below `tmp_path/docs`."""

    def write_file(name: str, text: str) -> Path:
        file = tmp_path / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


@pytest.fixture(scope="session")
def eval_data() -> Path:
    """The folder of evaluation data, where there is one."""
    folder = os.environ.get("RAGSTONE_EVAL")
    if not folder:
        pytest.skip("RAGSTONE_EVAL is not set: no evaluation data here")
    return Path(folder)
