"""A short run of bench/soak.py; the long one is for whoever changes what a server keeps."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from app.running.bases import State
from app.ui.page import SESSIONS, mount
from bench.soak import measure
from core.config import load


@pytest.mark.slow
def test_some_hundred_requests_leave_nothing_behind() -> None:
    found = measure(requests=300, minutes=30, warm_up=100, rest_s=12, pages=0)
    assert found["failed"] == {}, found["log"]
    assert found["measured"] == 200
    assert found["grown"] == [], found


def test_of_the_pages_that_were_loaded_only_some_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < SESSIONS <= 1_000
    monkeypatch.setattr("app.ui.page.SESSIONS", 10)  # each is a copy of the whole page's state
    api = mount(FastAPI(), State(load(flags={"app.data": str(tmp_path)}, environ={})), "kb")
    (page,) = [route.app for route in api.routes if isinstance(route, Mount)]
    holder = page.state_holder  # type: ignore[attr-defined]
    for n in range(30):
        holder[f"session {n}"]
    assert len(holder.session_data) <= 11
