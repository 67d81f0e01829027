"""What an event of the page may bring: no file but the sender's own, whatever its role; and whose uploads are whose."""

import json
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.running.accounts import Accounts
from tests.app.app_process import App, running

pytestmark = pytest.mark.slow

MARK = "marker-7f3a: a line of a file that nobody uploaded"
ROLES = ("reader", "editor", "admin")


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI with a user of each role, and one editor more."""
    folder = tmp_path_factory.mktemp("events")
    shutil.copytree(handbook, folder / "data")
    accounts = Accounts(folder / "data")
    for role in ROLES:
        accounts.add(role, role, None, "correct horse battery")
    accounts.add("other", "editor", None, None)
    env = {
        "RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive", "RAGSTONE_APP__PENDING_UPLOADS_MB": "2",
    }  # fmt: skip
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


@dataclass(frozen=True, slots=True)
class Sender:
    """Somebody who sends events of a page by hand."""

    client: httpx.Client
    session: str

    def join(self, number: int, data: list[Any], happened: Any = None, session: str = "") -> httpx.Response:
        body = {"fn_index": number, "data": data, "event_data": happened, "session_hash": session or self.session}
        return self.client.post("/gradio_api/queue/join", json=body)

    def upload(self, name: str, content: bytes) -> httpx.Response:
        return self.client.post("/gradio_api/upload", files={"files": (name, content)})


@pytest.fixture
def sender(app: App) -> Iterator[Any]:
    """Make a `Sender` of a user."""
    clients: list[httpx.Client] = []

    def make(name: str) -> Sender:
        key = Accounts(app.data).add_key(name)
        clients.append(httpx.Client(base_url=app.url, timeout=60, headers={"authorization": f"Bearer {key}"}))
        return Sender(clients[-1], f"{name}{len(clients)}")

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def marker(app: App, tmp_path: Path) -> Iterator[tuple[Path, ...]]:
    """A file outside of everything, one beside the app's working folder, one in the data folder."""
    files = (tmp_path / "marker.txt", app.data / "handbook" / "marker.txt")
    for file in files:
        file.write_text(MARK, encoding="utf-8")
    yield files
    for file in files:
        file.unlink()


def named(file: Path) -> dict[str, Any]:
    """A file as a page of Gradio's names one."""
    return {"path": str(file), "orig_name": file.name, "meta": {"_type": "gradio.FileData"}}


def events(client: httpx.Client) -> list[tuple[int, list[str]]]:
    """Every event of the page by its own config: its number, and the kinds of the components it reads."""
    config = client.get("/config").json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    return [(event["id"], [kinds[number] for number in event["inputs"]]) for event in config["dependencies"]]


def filled(kinds: list[str], file: Path) -> list[list[Any]]:
    """What an event may be sent that names a file: in all that it reads, and in one part at a time."""
    parts = [at for at, kind in enumerate(kinds) if kind != "state"]
    together = [parts] if parts else []
    alone = [[part] for part in parts] if len(parts) > 1 else []
    forms: list[Any] = [named(file), [named(file)], {"value": named(file)}]
    return [
        [form if at in chosen else None for at in range(len(kinds))]
        for chosens, those in ((together, forms), (alone, forms[:2])) for chosen in chosens for form in those
    ]  # fmt: skip


def taken_by(who: Sender, file: Path) -> list[tuple[int, list[str]]]:
    """The events that take a file which their sender did not upload."""
    return [
        (number, kinds)
        for number, kinds in events(who.client)
        for sent, happened in [
            *((sent, None) for sent in filled(kinds, file)),
            ([None] * len(kinds), {"value": named(file)}),
        ]
        if who.join(number, sent, happened).status_code not in (400, 403)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_no_event_takes_a_file_that_its_sender_did_not_upload(
    app: App, sender: Any, marker: tuple[Path, ...], role: str
) -> None:
    who, received = sender(role), Path(f"{app.data}-received")
    assert len(events(who.client)) > 60
    taken = [event for file in marker for event in taken_by(who, file)]
    assert taken == []
    copies = [one for one in received.rglob("*") if one.is_file() and MARK in one.read_text(errors="ignore")]
    assert copies == []
    for file in (*marker, received / "marker.txt"):
        answer = who.client.get(f"/gradio_api/file={file}")
        assert answer.status_code == 404
        assert MARK not in answer.text


def test_nor_where_there_are_no_users(handbook: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker.txt"
    marker.write_text(MARK, encoding="utf-8")
    env = {"RAGSTONE_LLM__BACKEND": "extractive"}
    shutil.copytree(handbook, tmp_path / "data")
    with running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app, httpx.Client(
        base_url=app.url, timeout=60
    ) as client:  # fmt: skip
        assert len(events(client)) > 60
        assert taken_by(Sender(client, "alone"), marker) == []
        assert client.get(f"/gradio_api/file={marker}").status_code == 404
    received = Path(f"{tmp_path / 'data'}-received")
    assert [one for one in received.rglob("*") if one.is_file() and MARK in one.read_text(errors="ignore")] == []


def test_a_text_box_takes_text_only(sender: Any) -> None:
    who = sender("editor")
    boxes = [(number, kinds) for number, kinds in events(who.client) if "textbox" in kinds]
    assert len(boxes) > 20
    for number, kinds in boxes:
        for value in ({"a": 1}, ["a"], 7):
            data = [value if kind == "textbox" else None for kind in kinds]
            assert who.join(number, data).status_code == 400


def test_an_upload_is_its_senders_alone(sender: Any) -> None:
    mine, yours = sender("editor"), sender("other")
    (path,) = mine.upload("note.md", b"# Mine").json()
    assert mine.client.get(f"/gradio_api/file={path}").content == b"# Mine"
    assert yours.client.get(f"/gradio_api/file={path}").status_code == 404
    takes_file = next((number, kinds) for number, kinds in events(mine.client) if "file" in kinds)
    data = [[named(Path(path))] if kind == "file" else None for kind in takes_file[1]]
    assert yours.join(takes_file[0], data).status_code == 403
    assert mine.join(takes_file[0], data).status_code == 200
    (same,) = yours.upload("note.md", b"# Mine").json()
    assert same != path  # so that nobody's is deleted with another's


def test_a_reader_uploads_nothing_and_an_editor_no_more_than_allowed(app: App, sender: Any) -> None:
    assert sender("reader").upload("note.md", b"# Note").status_code == 403
    who = sender("other")
    for _ in range(2):
        assert who.upload("part.txt", b"x" * 900_000).status_code == 200
    refused = who.upload("more.txt", b"x" * 900_000)
    assert refused.status_code == 413
    assert "2 MiB" in refused.json()["error"]["message"]
    unannounced = who.client.post(
        "/gradio_api/upload", content=iter([b"--b\r\n", b"y" * 3_000_000]),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )  # fmt: skip
    assert unannounced.status_code == 413


def test_uploads_sent_at_once_share_the_room_of_their_sender(app: App, sender: Any) -> None:
    name = "parallel"
    Accounts(app.data).add(name, "editor", None, None)
    who = sender(name)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: who.upload(f"{n}.txt", bytes([65 + n]) * 900_000).status_code, range(8)))
    assert sorted(sent) == [200, 200, *6 * [413]]


def test_how_far_an_upload_is_is_told_to_its_sender_alone(sender: Any) -> None:
    mine, yours = sender("editor"), sender("reader")
    sent = {"files": {"files": ("note.md", b"# Note")}, "params": {"upload_id": "abc"}}
    assert mine.client.post("/gradio_api/upload", **sent).status_code == 200
    assert yours.client.get("/gradio_api/upload_progress", params={"upload_id": "abc"}).status_code == 404
    other = sender("other")
    assert other.client.post("/gradio_api/upload", **sent).status_code == 403


def test_who_floods_the_queue_is_refused_and_the_others_are_served(app: App, sender: Any) -> None:
    reader, admin = sender("reader"), sender("admin")
    config = reader.client.get("/config").json()
    names = {component["id"]: component["props"].get("elem_id") for component in config["components"]}
    number, inputs = next(
        (event["id"], event["inputs"])
        for event in config["dependencies"]
        if [(names[part], kind) for part, kind in event["targets"] if part in names] == [("question", "submit")]
    )
    kinds = dict(events(reader.client))[number]
    question = "leave of absence " * 400
    data = [question if names[i] == "question" else None for i in inputs]
    assert len(data) == len(kinds)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: reader.join(number, data, session=f"flood{n}").status_code, range(120)))
    assert set(sent) == {200, 503}
    assert admin.join(number, data).status_code == 200


def test_a_session_belongs_to_whoever_began_it(sender: Any) -> None:
    mine, yours = sender("reader"), sender("editor")
    number = next(number for number, kinds in events(mine.client) if not kinds)
    assert mine.join(number, []).status_code == 200
    assert yours.join(number, [], session=mine.session).status_code == 403
    for path in (f"queue/data?session_hash={mine.session}", f"heartbeat/{mine.session}"):
        assert yours.client.get(f"/gradio_api/{path}").status_code == 404
    both = f"queue/data?session_hash={yours.session}&session_hash={mine.session}"
    assert yours.client.get(f"/gradio_api/{both}").status_code == 404
    cancel = {"session_hash": mine.session, "fn_index": number, "event_id": "x"}
    assert yours.client.post("/gradio_api/cancel", json=cancel).status_code == 403


def test_uploads_go_with_the_app_that_is_told_to_end(handbook: Path, tmp_path: Path) -> None:
    env = {"GRADIO_TEMP_DIR": "", "TMPDIR": str(tmp_path), "RAGSTONE_LLM__BACKEND": "extractive"}
    with running("ui", handbook, tmp_path / "ui.log", env) as app:
        (path,) = httpx.post(f"{app.url}/gradio_api/upload", files={"files": ("note.md", b"# Mine")}).json()
        assert Path(path).is_file()
        assert len(list(tmp_path.glob("ragstone-uploads-*"))) == 1
    assert list(tmp_path.glob("ragstone-uploads-*")) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/x"), ("GET", "/gradio_api/file=http://127.0.0.1:1/x"),
        ("GET", "/gradio_api/info"), ("POST", "/gradio_api/run/predict"), ("POST", "/gradio_api/call/x"),
        ("POST", "/gradio_api/component_server"), ("GET", "/gradio_api/deep_link?session_hash=x"),
        ("POST", "/gradio_api/process_recording"), ("POST", "/gradio_api/vibe-edit/"), ("GET", "/monitoring"),
        ("POST", "/gradio_api/stream/x"), ("GET", "/gradio_api/queue/status"), ("GET", "/svelte/x"),
        ("GET", "/custom_component/x"), ("POST", "/"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_closed(sender: Any, method: str, path: str) -> None:
    assert sender("admin").client.request(method, path).status_code in (404, 405)


def test_the_log_holds_little_of_what_a_wrong_event_sent(app: App, sender: Any) -> None:
    who, sent = sender("editor"), "forged line\n" * 5_000
    lists = [(number, kinds) for number, kinds in events(who.client) if {"dropdown", "radio"} & set(kinds)]
    assert lists
    before = app.log.stat().st_size
    for number, kinds in lists:
        assert who.join(number, [None if kind == "state" else sent for kind in kinds]).status_code in (200, 400, 403)
    with who.client.stream("GET", f"/gradio_api/queue/data?session_hash={who.session}") as stream:
        ended = [line for line in stream.iter_lines() if "process_completed" in line]
    assert ended
    told = app.log.read_text("utf-8")[before:]
    assert "an event of the page failed" in told
    assert len(told) < 10_000 * len(lists)
    assert not any(line.startswith("forged line") for line in told.splitlines())


def test_what_is_no_event_is_refused(sender: Any) -> None:
    who = sender("admin")
    number, kinds = next((number, kinds) for number, kinds in events(who.client) if len(kinds) == 1)
    for body in (
        b"", b"[]", b"{", b"[" * 100_000, json.dumps({"session_hash": who.session}).encode(),
        json.dumps({"session_hash": who.session, "fn_index": 9_999, "data": []}).encode(),
        json.dumps({"session_hash": who.session, "fn_index": number, "data": []}).encode(),
        json.dumps({"session_hash": who.session, "fn_index": True, "data": [None] * len(kinds)}).encode(),
        json.dumps({"session_hash": 5, "fn_index": number, "data": [None] * len(kinds)}).encode(),
    ):  # fmt: skip
        answer = who.client.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 403), body[:60]


def test_nobody_is_told_whether_there_is_work_on_a_knowledge_base_that_they_may_not_see(app: App, sender: Any) -> None:
    Accounts(app.data).add("apart", "reader", ["of my own"], None)
    admin = sender("admin")
    config = admin.client.get("/config").json()
    ids = {one["id"]: one["props"].get("elem_id") for one in config["components"]}

    def number(first: str, trigger: str) -> int:
        """The event of a button, or without one the one of the timer that follows a job."""
        return next(
            one["id"] for one in config["dependencies"]
            if [ids.get(at) for at, _ in one["targets"]] == [first or None] and one["targets"][0][1] == trigger
            and one["inputs"] and ids[one["inputs"][0]] == "knowledge-kb"
        )  # fmt: skip

    assert done(admin, number("knowledge-plan", "click"), ["handbook"])["success"]
    told = [done(sender("apart"), number("", "tick"), [name, None]) for name in ("handbook", "absent99")]
    assert [one["success"] for one in told] == [False, False]
    assert told[0]["output"]["error"] == told[1]["output"]["error"].replace("absent99", "handbook")


def done(who: Sender, number: int, data: list[Any]) -> dict[str, Any]:
    """How the only event of a session ended."""
    event = who.join(number, data).json()["event_id"]
    with who.client.stream("GET", f"/gradio_api/queue/data?session_hash={who.session}") as stream:
        for line in stream.iter_lines():
            said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if said.get("msg") == "process_completed" and said["event_id"] == event:
                return said
    raise AssertionError("the event did not end")


def at(client: httpx.Client, part: str, trigger: str) -> tuple[int, list[str]]:
    """The event of a part of the page, by its id, and the kinds of what it reads."""
    config = client.get("/config").json()
    ids = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
    number = next(
        one["id"] for one in config["dependencies"] if [(ids.get(n), t) for n, t in one["targets"]] == [(part, trigger)]
    )
    return number, dict(events(client))[number]


@pytest.mark.parametrize(
    ("part", "trigger"),
    [
        ("knowledge-mark-all", "click"), ("knowledge-marked-add", "click"), ("knowledge-marked-remove", "click"),
        ("knowledge-marked-again", "click"), ("knowledge-marked-leave", "click"), ("knowledge-marked-take", "click"),
        ("knowledge-name-save", "click"), ("knowledge-name-own", "click"), ("knowledge-corrections-pressed", "change"),
        ("knowledge-correct", "click"), ("knowledge-correct-save", "click"), ("knowledge-unlock", "click"),
        ("knowledge-overview-part", "expand"), ("knowledge-overview-pressed", "change"),
    ],
)  # fmt: skip
def test_a_reader_changes_nothing_of_files_by_an_event_sent_by_hand(sender: Any, part: str, trigger: str) -> None:
    who = Sender(sender("reader").client, uuid.uuid4().hex)  # the messages of a session end with its first stream
    number, kinds = at(who.client, part, trigger)
    values = {"dropdown": "handbook", "radio": "all", "textbox": '{"value": "1"}', "state": None, "checkbox": True}
    said = done(who, number, [values[kind] for kind in kinds])
    assert not said["success"]
    assert "editor" in said["output"]["error"]
