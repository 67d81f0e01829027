"""Whose documents prompts quote, and who sees that: as each role, by the page's events and by HTTP."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.running import audit
from app.running.accounts import Accounts
from core.config import load
from prompts.load import Demo, Prompt
from prompts.load import load as load_prompt
from prompts.resting import mark, resting
from prompts.versions import save, to_toml, versions
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.app_process import App, running
from tests.app.prompt_lab import POOR, library
from tests.retrieval.corpus import build

pytestmark = pytest.mark.slow

MARK = "marker-9d20: a passage of the secret knowledge base"
OLD = "marker-4b71: a demonstration of an earlier version"
PARTS = {"en": POOR}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("seen") / "library")


@pytest.fixture(scope="module")
def app(prompts: Path, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Two knowledge bases, an editor of each, one of both and an admin; prompts that quote, with a mark and without."""
    data = tmp_path_factory.mktemp("seen-data")
    cfg = load(flags={"app.data": str(data), "retrieval.precision": "float32"}, environ={}).config
    for kb in ("handbook", "secret"):
        build(cfg, embedder, {"a.md": f"# {kb}\n\nThe {kb} names a sum."}, kb).close()
    for name, role, bases in (("hal", "editor", ["handbook"]), ("sue", "editor", ["secret"]), ("bo", "editor", None),
                              ("ann", "admin", None), ("rex", "reader", None)):  # fmt: skip
        Accounts(data).add(name, role, bases, "correct horse battery")  # type: ignore[arg-type]
    base = mark(Index.identity_in(data, "secret"), data)
    for name, text, rests_on in (("shown", MARK, base), ("old", OLD, None)):
        demos = {"en": (Demo({"question": "How much?", "sources": text}, text),)}
        save(prompts, Prompt(name, 0, "", ("sources", "question"), PARTS, demos, "poor/v001", text, rests_on))
    env = {
        "RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive", "RAGSTONE_PROMPTS__LIBRARY": str(prompts),
        "RAGSTONE_PROMPTS__ANSWER": "poor",
    }  # fmt: skip
    with running("ui", data, tmp_path_factory.mktemp("log") / "ui.log", env) as app:
        yield app


class Sender:
    """Somebody who sends events of the lab by hand."""

    def __init__(self, app: App, name: str) -> None:
        key = Accounts(app.data).add_key(name)
        self.client = httpx.Client(base_url=app.url, timeout=60, headers={"authorization": f"Bearer {key}"})
        self.config = self.client.get("/config").json()
        self.ids = {one["id"]: one["props"].get("elem_id") or "" for one in self.config["components"]}

    def of(self, elem_id: str, trigger: str) -> dict[str, Any]:
        return next(
            one for one in self.config["dependencies"]
            for at, name in one["targets"] if self.ids.get(at) == elem_id and name == trigger
        )  # fmt: skip

    def every(self) -> list[dict[str, Any]]:
        """All events that read or fill a part of the lab."""
        return [
            one for one in self.config["dependencies"]
            if one["backend_fn"] and not one["js"]
            and any(self.ids.get(at, "").startswith("lab-") for at in (*one["inputs"], *one["outputs"]))
        ]  # fmt: skip

    def done(self, event: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        """How an event ended whose fields say what is told, by their ids."""
        data = [told.get(self.ids.get(at, ""), 0 if not self.ids.get(at) else "") for at in event["inputs"]]
        session = uuid.uuid4().hex
        body = {"fn_index": event["id"], "data": data, "session_hash": session}
        joined = self.client.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
            for line in stream.iter_lines():
                said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if said.get("msg") == "process_completed" and said["event_id"] == joined.json()["event_id"]:
                    return said
        raise AssertionError("the event did not end")

    def exported(self, label: str) -> httpx.Response:
        return self.client.get("/prompts.toml", params={"label": label})


def form(label: str, kb: str, **told: Any) -> dict[str, Any]:
    """The lab's fields, of which those of the versions hold a label."""
    boxes = {"lab-system-en": POOR[0], "lab-user-en": POOR[1], "lab-system-zh": "", "lab-user-zh": ""}
    return boxes | {
        "lab-kb": kb, "lab-version": label, "lab-other": label, "lab-chosen": [label], "lab-demos": "",
        "lab-variants": [label, "poor/v001"], "lab-notes": "", "lab-settings": "", "lab-file": None, "lab-set": None,
    } | told  # fmt: skip


@pytest.mark.parametrize("label", ["shown/v001", "shown", "old/v001"])
@pytest.mark.parametrize(("name", "kb"), [("hal", "handbook"), ("rex", "secret")])
def test_no_event_of_the_lab_shows_or_uses_what_quotes_documents_that_one_may_not_see(
    app: App, prompts: Path, name: str, kb: str, label: str
) -> None:
    who = Sender(app, name)
    assert who.exported(label).status_code == (404 if name == "hal" else 403)
    events = who.every()
    assert len(events) > 15
    for event in events:
        said = json.dumps(who.done(event, form(label, kb)))
        assert MARK not in said
        assert OLD not in said
        assert '"shown/v001"' not in said
        assert '"old/v001"' not in said
    assert (versions(prompts, "shown"), versions(prompts, "old")) == ([1], [1])
    assert not (app.data / "handbook" / "prompt.json").exists()


@pytest.mark.parametrize(
    ("name", "label", "seen"),
    [("sue", "shown/v001", True), ("bo", "shown/v001", True), ("ann", "shown/v001", True),
     ("sue", "old/v001", False), ("bo", "old/v001", False), ("ann", "old/v001", True)],
)  # fmt: skip
def test_who_sees_the_knowledge_base_sees_it_and_what_says_nothing_is_for_admins(
    app: App, name: str, label: str, seen: bool
) -> None:
    who = Sender(app, name)
    kb = "secret" if name == "sue" else "handbook"
    assert who.exported(label).status_code == (200 if seen else 404)
    lists = json.dumps(who.done(who.of("lab-refresh", "click"), form(label, kb)))
    picked = json.dumps(who.done(who.of("lab-version", "change"), form(label, kb)))
    assert (label in lists, "marker-" in picked) == (seen, seen)


def test_it_answers_its_own_knowledge_base_alone_whoever_promotes_it(app: App) -> None:
    for name in ("bo", "ann"):
        who = Sender(app, name)
        refused = who.done(who.of("lab-promote", "click"), form("shown/v001", "handbook"))
        assert not refused["success"]
        assert "another knowledge base than" in refused["output"]["error"]
        assert not (app.data / "handbook" / "prompt.json").exists()
    assert Sender(app, "sue").done(who.of("lab-promote", "click"), form("shown/v001", "secret"))["success"]
    (app.data / "handbook" / "prompt.json").write_bytes((app.data / "secret" / "prompt.json").read_bytes())
    asked = {"model": "handbook", "messages": [{"role": "user", "content": "Which sum?"}]}
    try:
        said = Sender(app, "rex").client.post("/v1/chat/completions", json=asked)
        assert said.status_code != 200
        assert MARK not in said.text
    finally:
        (app.data / "handbook" / "prompt.json").unlink()


def test_what_is_edited_of_it_is_as_hidden_and_new_demonstrations_rest_on_what_is_chosen(
    app: App, prompts: Path
) -> None:
    sue, hal = Sender(app, "sue"), Sender(app, "hal")
    secret, handbook = (Index.identity_in(app.data, kb) for kb in ("secret", "handbook"))
    before = versions(prompts, "shown")
    assert sue.done(sue.of("lab-save", "click"), form("shown/v001", "secret"))["success"]
    (new,) = set(versions(prompts, "shown")).difference(before)
    assert resting(load_prompt(prompts, "shown", new)) == secret
    assert hal.exported(f"shown/v{new:03d}").status_code == 404
    demos = '[[en.demos]]\nquestion = "Q?"\nsources = "s"\nanswer = "marker-5e [1]."'
    for kb, base, told in (("handbook", "", ""), ("handbook", handbook, demos)):
        assert hal.done(hal.of("lab-save", "click"), form("poor/v001", kb, **{"lab-demos": told}))["success"]
        saved = load_prompt(prompts, "poor")
        assert resting(saved) == base
        assert sue.exported(saved.label).status_code == (404 if base else 200)
    ann, told = Sender(app, "ann"), f'[[en.demos]]\nquestion = "How much?"\nsources = "s"\nanswer = "{OLD}"'
    assert ann.done(ann.of("lab-save", "click"), form("old/v001", "handbook", **{"lab-demos": told}))["success"]
    assert [who.exported("old/v002").status_code for who in (ann, hal)] == [200, 404]
    lines = [(row.who, row.what, row.on) for row in audit.entries(app.data, 3)][1:]
    assert lines == [("hal", "prompt.save", saved.label), ("hal", "prompt.save", f"poor/v{saved.version - 1:03d}")]
    assert "marker-5e" not in (app.data / audit.FILE).read_text("utf-8")


def test_what_is_imported_is_for_those_alone_who_see_its_documents(app: App, prompts: Path) -> None:
    hal = Sender(app, "hal")
    event = hal.of("lab-import", "click")

    def given(rests_on: str | None) -> dict[str, Any]:
        demos = {"en": (Demo({"question": "Q?", "sources": "s"}, "marker-6f [1]."),)}
        told = Prompt("brought", 0, "", ("sources", "question"), PARTS, demos, "", "", rests_on)
        path = hal.client.post("/gradio_api/upload", files={"files": ("brought.toml", to_toml(told))},
                               params={"upload_id": uuid.uuid4().hex}).json()[0]  # fmt: skip
        return {"path": path, "orig_name": "brought.toml", "meta": {"_type": "gradio.FileData"}}

    def imported(rests_on: str | None) -> dict[str, Any]:
        session = uuid.uuid4().hex
        data = [given(rests_on) if hal.ids.get(at) == "lab-file" else "handbook" if hal.ids.get(at) == "lab-kb" else 0
                for at in event["inputs"]]  # fmt: skip
        body = {"fn_index": event["id"], "data": data, "session_hash": session}
        assert hal.client.post("/gradio_api/queue/join", json=body).status_code == 200
        with hal.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
            for line in stream.iter_lines():
                said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if said.get("msg") == "process_completed":
                    return said
        raise AssertionError("the event did not end")

    refused = imported(Index.identity_in(app.data, "secret"))
    assert "do not see here" in refused["output"]["error"]
    assert versions(prompts, "brought") == []
    assert imported(None)["success"]
    assert resting(load_prompt(prompts, "brought")) == Index.identity_in(app.data, "handbook")
    assert Sender(app, "sue").exported("brought/v001").status_code == 404
    assert [(row.who, row.what, row.on) for row in audit.entries(app.data, 1)] == [
        ("hal", "prompt.import", "brought/v001")
    ]


def test_a_password_that_was_changed_is_in_the_audit_log_without_it(app: App) -> None:
    with httpx.Client(base_url=app.url, timeout=60, headers={"origin": app.url.rstrip("/")}) as client:
        client.post("/login", data={"name": "rex", "password": "correct horse battery"})
        changed = client.post("/password", data={"password": "correct horse battery", "new": "battery horse correct"})
    assert changed.status_code in (302, 303)
    assert [(row.who, row.what, row.on) for row in audit.entries(app.data, 1)] == [("rex", "user.password", "rex")]
    assert "battery horse" not in (app.data / audit.FILE).read_text("utf-8")
