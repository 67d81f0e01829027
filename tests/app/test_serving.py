"""What the process that serves says of itself while it watches folders."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app import serving
from app.keeping.index import Report
from app.running.bases import State
from core.config import load
from core.errors import ModelError
from core.types import FileError


def test_why_folders_are_not_followed_is_told_until_they_are_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state, told = State(load(flags={"app.data": str(tmp_path)}, environ={})), []

    def follow(_: object, cfg: Callable[[], object], tell: Callable[[object], None], stop: threading.Event) -> None:
        assert cfg() is state.cfg
        for what in (
            ModelError("the embedder does not answer", "start it"),
            OSError(),
            Report(failed=[FileError("a.pdf", "damaged", "restore it")]),
            ValueError("no number"),
            Report(),
        ):
            tell(what)
            told.append(state.watching)
        assert not stop.is_set()

    monkeypatch.setattr(serving, "keep_following", follow)
    serving._follow(state, "kb", threading.Event())
    assert told == ["the embedder does not answer\n  → start it", "OSError", "", "no number", ""]
    assert "a.pdf: damaged" in caplog.text
    assert "watching 'kb' failed, and is tried again" in caplog.text
