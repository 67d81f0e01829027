"""What events sent by hand may do with the files of chats: their sender's own, where the settings allow it."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.running.accounts import Accounts
from app.running.chat_folders import all_of
from tests.app.app_process import App, running
from tests.app.ui.test_events import Sender, at, done, events, named
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

LEASE = b"# Lease\n\nThe notice period is eleven weeks.\n"


def app_of(handbook: Path, folder: Path, role: str) -> Any:
    shutil.copytree(handbook, folder / "data")
    accounts = Accounts(folder / "data")
    for name in ("ann", "bob"):
        accounts.add(name, "reader", None, "correct horse battery")
    accounts.add("root", "admin", None, "correct horse battery")
    env = {
        "RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive", "RAGSTONE_APP__CHAT_FILES_ROLE": role,
        "RAGSTONE_APP__CHAT_FILES_MB": "1",
    }  # fmt: skip
    return running("ui", folder / "data", folder / "ui.log", env)


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI where readers may drop files into their chats."""
    with app_of(handbook, tmp_path_factory.mktemp("dropping"), "reader") as app:
        yield app


@pytest.fixture(scope="module")
def strict(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI where they may not."""
    with app_of(handbook, tmp_path_factory.mktemp("strict"), "editor") as app:
        yield app


def sender(app: App, name: str) -> Sender:
    key = Accounts(app.data).add_key(name)
    client = httpx.Client(base_url=app.url, timeout=60, headers={"authorization": f"Bearer {key}"})
    return Sender(client, uuid.uuid4().hex)


def again(who: Sender) -> Sender:
    """The same, in a session of their own: the messages of one end with its first stream."""
    return Sender(who.client, uuid.uuid4().hex)


def attach(who: Sender, chat: str, content: bytes = LEASE, name: str = "lease.md") -> dict[str, Any]:
    (path,) = who.upload(name, content).json()
    number, _ = at(who.client, "chat-attach", "upload")
    return done(again(who), number, [[named(Path(path))], chat, [], False, ""])


def pressed(who: Sender, chat: str, **told: str) -> dict[str, Any]:
    number, _ = at(who.client, "chat-pressed", "change")
    return done(again(who), number, [json.dumps(told), chat, ""])


def held(app: App) -> list[str]:
    return sorted(file.name for file in all_of(app.data).glob("*/files/*"))


@pytest.fixture(scope="module")
def chat(app: App) -> str:
    """A chat of ann's with a file that is read."""
    ann = sender(app, "ann")
    said = attach(ann, "")
    assert said["success"]
    chat = said["output"]["data"][0]
    assert len(chat) == 32
    while "data-reading" in str(pressed(ann, chat, action="files")):
        pass
    assert "passages: 1" in str(pressed(ann, chat, action="files"))
    return chat


@pytest.mark.parametrize("name", ["bob", "root"])
def test_a_file_in_a_chat_is_nobodys_else_not_even_an_admins(app: App, chat: str, name: str) -> None:
    who = sender(app, name)
    for said in (
        attach(who, chat, b"# Mine\n", "mine.md"), pressed(who, chat, action="files"),
        pressed(who, chat, action="unfile", name="lease.md"),
    ):  # fmt: skip
        assert not said["success"]
        assert "lease.md" not in str(said)
    assert held(app) == ["lease.md"]
    for path in (f"chats/{chat}/view/1.png", f"chats/{chat}.md", f"view/{chat}/1.png", f"gradio_api/file={chat}"):
        assert who.client.get(f"/{path}").status_code in (400, 403, 404), path
    file = next(all_of(app.data).glob("*/files/*"))
    assert who.client.get(f"/gradio_api/file={file}").status_code == 404


def test_no_other_way_leads_to_the_index_of_a_chat(app: App, chat: str) -> None:
    ann = sender(app, "ann").client
    models = ann.get("/v1/models").text
    assert "handbook" in models
    assert chat not in models
    assert chat not in ann.get("/mentions?typed=").text
    assert "lease.md" not in ann.get("/mentions?typed=lease").text
    asked = {"messages": [{"role": "user", "content": "How long is the notice period?"}]}
    assert ann.post("/v1/chat/completions", json=asked | {"model": chat}).status_code == 404
    also = asked | {"model": "handbook", "ragstone": {"also": [chat]}}
    assert ann.post("/v1/chat/completions", json=also).status_code == 404
    for name in (f"../.chat-files/{chat}", f".chat-files/{chat}"):
        assert ann.post("/v1/chat/completions", json=asked | {"model": name}).status_code in (400, 404)


def test_who_uploads_for_chats_alone_can_do_nothing_else_with_a_file(app: App, chat: str) -> None:
    bob = sender(app, "bob")
    takes = [(number, kinds) for number, kinds in events(bob.client) if {"file", "uploadbutton"} & set(kinds)]
    assert len(takes) > 2
    own, _ = at(bob.client, "chat-attach", "upload")
    before = sorted(file for file in app.data.rglob("*.md") if "received" not in str(file))
    for number, kinds in takes:
        if number == own:
            continue
        (path,) = bob.upload("mine.md", b"# Mine\n").json()
        data = [[named(Path(path))] if kind in ("file", "uploadbutton") else None for kind in kinds]
        data = ["handbook" if kind == "dropdown" else value for kind, value in zip(kinds, data, strict=True)]
        assert not done(again(bob), number, data)["success"]
    assert sorted(file for file in app.data.rglob("*.md") if "received" not in str(file)) == before


def test_they_upload_no_more_than_chats_may_hold(app: App) -> None:
    ann = sender(app, "ann")
    assert ann.upload("big.txt", b"x" * 1_500_000).status_code == 413
    assert sender(app, "root").upload("big.txt", b"x" * 1_500_000).status_code == 200


def test_an_event_names_no_file_that_somebody_else_uploaded(app: App, chat: str) -> None:
    ann, bob = sender(app, "ann"), sender(app, "bob")
    (path,) = ann.upload("mine.md", b"# Mine\n").json()
    number, _ = at(bob.client, "chat-attach", "upload")
    for file in (path, str(app.data / "users.sqlite"), "/etc/hostname"):
        assert bob.join(number, [[named(Path(file))], "", [], False, ""]).status_code == 403


def test_a_reader_attaches_nothing_unless_the_settings_say_so(strict: App) -> None:
    ann, root = sender(strict, "ann"), sender(strict, "root")
    assert ann.upload("lease.md", LEASE).status_code == 403
    number, _ = at(ann.client, "chat-attach", "upload")
    said = done(again(ann), number, [None, "", [], False, ""])
    assert not said["success"]
    assert "may not drop files" in said["output"]["error"]
    assert attach(root, "")["success"]
    assert held(strict) == ["lease.md"]


def test_the_page_of_a_pdf_in_a_chat_is_shown_to_its_owner_alone(app: App) -> None:
    ann = sender(app, "ann")
    pdf = (ROOT / "examples" / "handbook" / "products" / "lt-300-manual.pdf").read_bytes()
    said = attach(ann, "", pdf, "manual.pdf")
    own = said["output"]["data"][0]
    while "data-reading" in str(pressed(ann, own, action="files")):
        pass
    picture = ann.client.get(f"/chats/{own}/view/1.png")
    assert picture.status_code == 200
    assert picture.content.startswith(b"\x89PNG")
    assert sender(app, "root").client.get(f"/chats/{own}/view/1.png").status_code in (403, 404)
    assert ann.client.get(f"/chats/{own}/view/99999.png").status_code == 404
    assert pressed(ann, own, action="unfile", name="manual.pdf")["success"]
    assert ann.client.get(f"/chats/{own}/view/1.png").status_code == 404
