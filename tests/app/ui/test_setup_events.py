"""What setting up takes from whom: of nobody but an admin, and it tells names of folders and no file of the server."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.running.accounts import Accounts
from tests.app.app_process import App, running

pytestmark = pytest.mark.slow

HIDDEN = "marker-51c9.txt"


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("setup")
    shutil.copytree(handbook, folder / "data")
    (folder / "config.toml").write_text("[llm]\nports = []\n", "utf-8")
    for role in ("reader", "editor", "admin"):
        Accounts(folder / "data").add(role, role, None, "correct horse battery")  # type: ignore[arg-type]
    env = {"RAGSTONE_APP__USERS": "on", "RAGSTONE_CONFIG": str(folder / "config.toml")}
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


class Sender:
    """Somebody who sends events of the page by hand."""

    def __init__(self, app: App, name: str) -> None:
        key = Accounts(app.data).add_key(name)
        self.client = httpx.Client(base_url=app.url, timeout=60, headers={"authorization": f"Bearer {key}"})
        self.config = self.client.get("/config").json()
        self.ids = {one["id"]: one["props"].get("elem_id") or "" for one in self.config["components"]}
        self.kinds = {one["id"]: one["type"] for one in self.config["components"]}

    def events(self) -> list[dict[str, Any]]:
        """Those that read, fill or come from a part of setting up."""
        return [
            one for one in self.config["dependencies"]
            if any(self.ids.get(at, "").startswith("setup-")
                   for at in (*one["inputs"], *one["outputs"], *(target for target, _ in one["targets"])))
        ]  # fmt: skip

    def of(self, elem_id: str, trigger: str) -> dict[str, Any]:
        """The event of a part."""
        return next(
            one for one in self.events()
            for at, name in one["targets"] if self.ids.get(at) == elem_id and name == trigger
        )  # fmt: skip

    def done(self, event: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        """How an event ended."""
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


@pytest.mark.parametrize("role", ["reader", "editor"])
def test_every_event_of_setting_up_refuses_who_is_no_admin(app: App, role: str) -> None:
    who = Sender(app, role)
    events = [event for event in who.events() if not event["js"] and event["backend_fn"]]
    assert len(events) > 20
    sent = {"state": None, "radio": "huggingface"}
    for event in events:
        data = [sent.get(who.kinds[at], json.dumps({"value": str(app.data)})) for at in event["inputs"]]
        said = who.done(event, data)
        assert said["success"] is False, [who.ids.get(at) for at in event["outputs"]]
        assert "needs the role" in said["output"]["error"] or "for admins" in said["output"]["error"]


def test_looking_for_a_folder_tells_no_file_and_not_the_data_folder(app: App) -> None:
    who = Sender(app, "admin")
    (app.data.parent / HIDDEN).write_text("secret words", "utf-8")
    (app.data.parent / "a folder").mkdir()
    said = who.done(who.of("setup-places-pressed", "change"), [json.dumps({"value": str(app.data.parent)})])
    shown = json.dumps(said["output"])
    assert said["success"]
    assert "a folder" in shown
    assert HIDDEN not in shown
    assert "secret words" not in shown
    assert f'{app.data}\\"' not in shown
    refused = who.done(who.of("setup-places-pressed", "change"), [json.dumps({"value": str(app.data.parent / HIDDEN)})])
    assert refused["success"] is False
    assert "secret words" not in json.dumps(refused)


@pytest.mark.parametrize("pressed", ["", "[]", '{"value": 7}', '{"value": "a\\u0000b"}', "no json"])
def test_what_page_js_does_not_write_opens_nothing(app: App, pressed: str) -> None:
    who = Sender(app, "admin")
    said = who.done(who.of("setup-places-pressed", "change"), [pressed])
    assert "Traceback" not in json.dumps(said)
    assert "a folder" not in json.dumps(said)


def test_a_link_turns_to_a_tab_that_its_visitor_may_see_alone(app: App) -> None:
    for role, wanted in (("reader", False), ("admin", True)):
        who = Sender(app, role)
        event = next(
            one for one in who.config["dependencies"] if [who.ids.get(at) for at in one["inputs"]] == ["page-pressed"]
        )
        said = who.done(event, [json.dumps({"tab": "setup"})])
        assert ('"setup"' in json.dumps(said["output"]["data"])) is wanted


def test_nothing_is_read_or_embedded_that_was_not_shown_before(app: App) -> None:
    who = Sender(app, "admin")
    for part in ("setup-read", "setup-use"):
        assert who.done(who.of(part, "click"), [None])["success"] is False
