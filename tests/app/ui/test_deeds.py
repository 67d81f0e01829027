"""What people do on the page: who may, and the line that each deed leaves in the audit log."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.running import audit
from app.running.bases import State
from app.ui import knowledge, knowledge_files, knowledge_sources, models_registry, settings
from core.config import load
from llm import registry
from tests.conftest import SMALL

PASSWORD = "correct horse battery"
PLACES = {"shared": "# VPN\n\nUse the gateway.", "private": "# Salaries\n\nThey are paid on the 25th."}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An app with a user of each role, whose editors may have `shared` followed."""
    for place, text in PLACES.items():
        (tmp_path / place).mkdir()
        (tmp_path / place / "note.md").write_text(text, encoding="utf-8")
    flags = {"app.data": str(tmp_path / "data"), "app.users": "on", "app.folders": [str(tmp_path / "shared")]}
    state = State(load(flags=flags | SMALL, environ={}))
    for role in ("reader", "editor", "admin"):
        state.users.accounts.add(role, role, None, PASSWORD)  # type: ignore[arg-type]
    state.bases.make("kb")
    yield state
    state.chats.close()


def by(state: State, who: str) -> Any:
    """A request of somebody."""
    key = state.users.accounts.add_key(who)
    return SimpleNamespace(headers={"authorization": f"Bearer {key}"}, cookies={}, query_params={})


def ended(state: State) -> None:
    """Wait until long work is done."""
    end = time.monotonic() + 60
    while any(job.state == "running" for job in state.jobs.latest()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert {job.error for job in state.jobs.latest()} == {""}


def deeds(state: State) -> list[tuple[str, str, str, str]]:
    """What the audit log holds, the oldest first."""
    return [(row.who, row.what, row.on, row.detail) for row in reversed(audit.entries(state.bases.data))]


def refusal(done: Any, *args: Any) -> str:
    """What a callback refuses with."""
    import gradio as gr

    with pytest.raises(gr.Error) as error:
        done(*args)
    return str(error.value)


def test_an_editor_has_folders_followed_that_config_names_and_an_admin_any(state: State, tmp_path: Path) -> None:
    add = knowledge_sources._adder(state)
    shared, private, absent = (str(tmp_path / name) for name in ("shared", "private", "absent"))
    editor, admin = by(state, "editor"), by(state, "admin")
    told = [refusal(add, path, "kb", editor).replace(path, "PATH") for path in (private, absent)]
    assert "may not be followed" in told[0]
    assert told[0] == told[1]  # which of them there is, is not told
    assert "role" in refusal(add, shared, "kb", by(state, "reader"))
    assert state.bases.get("kb").catalog.folders() == []
    add(f" {shared} ", "kb", editor)
    add(private, "kb", admin)
    assert state.bases.get("kb").catalog.folders() == [shared, private]
    remove = knowledge_sources._remover(state, knowledge_sources._folders(state))
    assert "role" in refusal(remove, shared, "kb", by(state, "reader"))
    remove(shared, "kb", editor)
    assert deeds(state) == [
        ("editor", "folder.add", "kb", shared), ("admin", "folder.add", "kb", private),
        ("editor", "folder.remove", "kb", shared),
    ]  # fmt: skip


def test_a_knowledge_base_that_is_made_leaves_a_line(state: State) -> None:
    make = knowledge._maker(state)
    assert "role" in refusal(make, "new", by(state, "reader"))
    make(" new ", by(state, "editor"))
    refusal(make, "new", by(state, "editor"))  # there is one already
    assert deeds(state) == [("editor", "base.make", "new", "")]


def test_an_upload_goes_once_the_knowledge_base_has_its_own_and_its_deletion_leaves_a_line(
    state: State, tmp_path: Path
) -> None:
    received = tmp_path / "received" / "garage.md"
    received.parent.mkdir()
    received.write_text("# Garage\n\nIt opens at 06:30.", encoding="utf-8")
    upload = knowledge_sources._uploader(state)
    assert "role" in refusal(upload, [str(received)], "kb", by(state, "reader"))
    assert received.exists()
    upload([str(received)], "kb", by(state, "editor"))
    ended(state)
    assert not received.exists()
    kept = state.bases.uploads("kb") / "garage.md"
    assert kept.is_file()
    delete, which = knowledge_files._deleter(state), json.dumps(["kb", str(kept.parent), "garage.md"])
    assert "role" in refusal(delete, "kb", which, by(state, "reader"))
    delete("kb", which, by(state, "editor"))
    ended(state)
    assert not kept.exists()
    assert deeds(state) == [("editor", "file.delete", "kb", "garage.md")]


def test_an_upload_that_cannot_be_stored_goes_too(state: State, tmp_path: Path) -> None:
    received = tmp_path / "program.exe"
    received.write_bytes(b"MZ")
    knowledge_sources._uploader(state)([str(received)], "kb", by(state, "editor"))
    end = time.monotonic() + 60
    while received.exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_model_that_is_promoted_leaves_a_line(state: State) -> None:
    folder = registry.home(state.bases.data, "tuned")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "run.json").write_text('{"kind": "merged", "base": {"name": "/models/lm-1b"}}')
    promote, admin = models_registry._promoter(state), by(state, "admin")
    assert "role" in refusal(promote, "tuned", True, by(state, "editor"))
    refusal(promote, "tuned", False, admin)  # without a proof
    assert deeds(state) == []
    promote("tuned", True, admin)
    assert deeds(state) == [("admin", "model.promote", "tuned", "forced")]


def test_the_log_is_shown_to_admins_alone(state: State) -> None:
    audit.record(state.bases.data, "admin", "user.add", "marker-8d")
    look = settings._auditor(state)
    for role in ("reader", "editor"):
        assert "marker-8d" not in refusal(look, by(state, role))
    assert "marker-8d" in look(by(state, "admin"))
