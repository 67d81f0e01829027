"""Files that were dropped into a conversation: whose they are, what they take, how they are read and how they go."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.running import chat_files, chat_folders
from app.running.bases import Bases
from app.running.chat_files import Attached, ChatFiles
from app.running.chat_folders import ever_held, home_of
from app.running.chats import Chats, Reader
from app.running.users import User
from core.config import Config, load
from core.errors import AccessError
from tests.conftest import SMALL

ANN, BOB = Reader("ann", {}), Reader("bob", {})
LEASE = "# Lease\n\nThe notice period is eleven weeks.\n\n## Deposit\n\nThe deposit is 940 euros.\n"
Dropping = Callable[..., None]


def config(data: Path, **more: object) -> Config:
    flags = {f"app.{key}": value for key, value in more.items()}
    return load(flags=SMALL | {"app.data": str(data), **flags}, environ={}).config


@pytest.fixture
def bases(tmp_path: Path) -> Bases:
    return Bases(config(tmp_path / "data"))


@pytest.fixture
def chats(bases: Bases) -> Chats:
    return Chats(bases.data)


@pytest.fixture
def files(bases: Bases, chats: Chats) -> ChatFiles:
    return ChatFiles(bases, chats)


@pytest.fixture
def chat(chats: Chats) -> str:
    return chats.begin(ANN, []).id


@pytest.fixture
def drop(files: ChatFiles, tmp_path: Path) -> Dropping:
    """Drop a file into a conversation, and wait until it is read; nothing of it may be refused."""

    def dropped(chat: str, name: str, text: str, reader: Reader = ANN) -> None:
        assert files.attach(reader, chat, [sent(tmp_path, name, text)]) == []
        until_read(files, chat)

    return dropped


def sent(folder: Path, name: str, text: str) -> Path:
    """A file as a browser sent it."""
    place = folder / "sent"
    place.mkdir(exist_ok=True)
    (place / name).write_text(text, "utf-8")
    return place / name


def until_read(files: ChatFiles, chat: str) -> None:
    for thread in threading.enumerate():
        if thread.name == chat_files.THREAD:
            thread.join(120)
    assert files.busy(chat) == 0


def names(files: ChatFiles, chat: str) -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in files.files(ANN, chat)]


def texts(data: Path) -> str:
    """Every byte of the files of conversations, as far as it is text."""
    found = [file.read_bytes() for file in chat_folders.all_of(data).rglob("*") if file.is_file()]
    return b"\n".join(found).decode("utf-8", "ignore")


def test_a_file_is_read_into_an_index_that_only_its_conversation_opens(
    files: ChatFiles, bases: Bases, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    assert files.files(ANN, chat) == [Attached("lease.md", "read", 1)]
    scope = files.scope(ANN, chat)
    assert scope
    assert scope[0].catalog.paths() == ["lease.md"]
    assert scope[1]
    assert scope[1].paths == ("lease.md",)
    assert bases.names() == []
    drop(chat, "plan.md", "# Plan\n\nPaint the hall.\n")
    assert [one.name for one in files.files(ANN, chat)] == ["lease.md", "plan.md"]
    both = files.scope(ANN, chat)
    assert both
    assert both[1] is None


def test_what_was_dropped_is_there_after_a_restart_and_its_conversation_is_named_by_it(
    files: ChatFiles, bases: Bases, chats: Chats, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    again = ChatFiles(Bases(bases.cfg), Chats(bases.data))
    assert again.files(ANN, chat) == [Attached("lease.md", "read", 1)]
    assert [one.title for one in chats.latest(ANN)] == ["lease.md"]


def test_a_file_whose_reading_the_end_of_the_app_cut_short_is_read_when_it_is_looked_at(
    files: ChatFiles, bases: Bases, chat: str
) -> None:
    folder = home_of(bases.data, chat) / "files"
    folder.mkdir(parents=True)
    (folder / "lease.md").write_text(LEASE)
    assert names(files, chat) == [("lease.md", "reading")]
    until_read(files, chat)
    assert names(files, chat) == [("lease.md", "read")]


def test_a_conversation_and_its_files_are_its_owners_alone(
    files: ChatFiles, chat: str, drop: Dropping, tmp_path: Path
) -> None:
    drop(chat, "lease.md", LEASE)
    mine = sent(tmp_path, "mine.md", "# Mine")
    for refused in (
        lambda: files.files(BOB, chat), lambda: files.scope(BOB, chat), lambda: files.remove(BOB, chat, "lease.md"),
        lambda: files.attach(BOB, chat, [mine]),
    ):  # fmt: skip
        with pytest.raises(AccessError, match="somebody else's"):
            refused()
    assert not mine.exists()
    assert names(files, chat) == [("lease.md", "read")]


def test_nothing_of_its_files_is_left_once_a_conversation_is_deleted(
    files: ChatFiles, bases: Bases, chats: Chats, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    assert "eleven weeks" in texts(bases.data)
    chats.delete(ANN, chat)
    assert not home_of(bases.data, chat).exists()
    with pytest.raises(AccessError):
        files.scope(ANN, chat)


def test_an_account_that_is_removed_takes_its_files_along(
    bases: Bases, chats: Chats, chat: str, drop: Dropping
) -> None:
    other = chats.begin(BOB, []).id
    drop(chat, "lease.md", LEASE)
    drop(other, "plan.md", "# Plan", BOB)
    assert chats.delete_all("ann") == 1
    assert not home_of(bases.data, chat).exists()
    assert home_of(bases.data, other).is_dir()


def test_a_file_that_is_removed_leaves_no_text_behind_and_the_others_stay(
    files: ChatFiles, bases: Bases, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    drop(chat, "plan.md", "# Plan\n\nPaint the hall.\n")
    files.remove(ANN, chat, "lease.md")
    assert names(files, chat) == [("plan.md", "read")]
    assert "eleven weeks" not in texts(bases.data)
    assert "Paint the hall" in texts(bases.data)
    files.remove(ANN, chat, "plan.md")
    assert files.files(ANN, chat) == []
    assert files.scope(ANN, chat) is None
    assert "Paint the hall" not in texts(bases.data)
    assert ever_held(bases.data, chat)
    drop(chat, "new.md", "# New\n\nA new one.\n")
    assert names(files, chat) == [("new.md", "read")]


def test_a_name_leads_to_no_file_but_the_conversations_own(
    files: ChatFiles, bases: Bases, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    outside = bases.data / "outside.md"
    outside.write_text("outside")
    for name in ("../../../outside.md", str(outside), "absent.md"):
        files.remove(ANN, chat, name)
    assert outside.exists()
    assert names(files, chat) == [("lease.md", "read")]
    with pytest.raises(ValueError, match="no conversation's id"):
        home_of(bases.data, "../handbook")


def test_a_file_that_cannot_be_read_says_why_and_takes_no_room(
    files: ChatFiles, bases: Bases, chat: str, drop: Dropping, tmp_path: Path
) -> None:
    drop(chat, "broken.pdf", "no PDF at all")
    (broken,) = files.files(ANN, chat)
    assert broken.state == "failed"
    assert broken.error
    assert broken.error.error
    assert chat_folders.held(home_of(bases.data, chat)) == {}
    assert names(ChatFiles(bases, Chats(bases.data)), chat) == [("broken.pdf", "failed")]
    files.remove(ANN, chat, "broken.pdf")
    assert files.files(ANN, chat) == []
    (refused,) = files.attach(ANN, chat, [sent(tmp_path, "tool.exe", "MZ")])
    assert "no reader" in refused.message


def test_one_that_takes_the_place_of_another_and_cannot_be_read_answers_nothing(
    files: ChatFiles, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.pdf.md", LEASE)
    drop(chat, "lease.pdf.md", "")
    (one,) = files.files(ANN, chat)
    assert one.state == "failed"
    assert files.scope(ANN, chat) is None


def test_a_file_takes_the_place_of_one_of_its_name(files: ChatFiles, bases: Bases, chat: str, drop: Dropping) -> None:
    drop(chat, "lease.md", LEASE)
    drop(chat, "lease.md", "# Lease\n\nThe notice period is three weeks.\n")
    assert files.files(ANN, chat) == [Attached("lease.md", "read", 1)]
    scope = files.scope(ANN, chat)
    assert scope
    assert "three weeks" in " ".join(hit.text for hit in scope[0].hits(scope[0].catalog.chunk_ids()).values())


def test_the_files_of_one_person_have_a_limit_over_all_their_chats(
    bases: Bases, chats: Chats, chat: str, tmp_path: Path
) -> None:
    bases.use(config(bases.data, chat_files_mb=1))
    files, other = ChatFiles(bases, chats), chats.begin(ANN, []).id
    assert files.attach(ANN, chat, [sent(tmp_path, "a.txt", "x" * 700_000)]) == []
    (refused,) = files.attach(ANN, other, [sent(tmp_path, "b.txt", "y" * 700_000)])
    assert "1 MiB together" in refused.message
    assert files.attach(ANN, chat, [sent(tmp_path, "a.txt", "z" * 700_000)]) == []  # in its own place
    third = chats.begin(BOB, []).id
    assert files.attach(BOB, third, [sent(tmp_path, "b.txt", "y" * 700_000)]) == []
    for one in (chat, third):
        until_read(files, one)


def test_a_chat_has_a_limit_of_files_and_of_the_length_of_each(
    files: ChatFiles, chat: str, drop: Dropping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_files, "LONGEST", 20)
    drop(chat, "lease.md", LEASE)
    (long,) = files.files(ANN, chat)
    assert long.error
    assert "20 are the most in a chat" in long.error.error
    monkeypatch.setattr(chat_files, "MOST", 0)
    (refused,) = files.attach(ANN, chat, [sent(tmp_path, "b.md", "# B")])
    assert "more than 0 in a chat" in refused.message


@pytest.mark.parametrize(
    ("size", "needed", "may"),
    [
        (200, "editor", {"editor", "admin"}), (200, "reader", {"reader", "editor", "admin"}), (200, "admin", {"admin"}),
        (0, "reader", set()),
    ],
)  # fmt: skip
def test_the_settings_say_who_may_drop_files(bases: Bases, chats: Chats, size: int, needed: str, may: set[str]) -> None:
    bases.use(config(bases.data, chat_files_mb=size, chat_files_role=needed))
    files = ChatFiles(bases, chats)
    users = [User("x", role, None, "x") for role in ("reader", "editor", "admin")]
    assert {user.role for user in users if files.room(user)} == may
    for user in users:
        if user.role not in may:
            with pytest.raises(AccessError):
                files.check(user)


def test_an_index_of_another_chunker_is_made_anew_of_the_files(
    files: ChatFiles, bases: Bases, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    cfg = bases.cfg
    bases.use(cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"chunk_tokens": 100})}))
    drop(chat, "plan.md", "# Plan\n\nPaint the hall.\n")
    names(files, chat)  # by which what is missing is read
    until_read(files, chat)
    assert names(files, chat) == [("lease.md", "read"), ("plan.md", "read")]


def test_an_index_that_cannot_be_opened_is_made_anew_of_the_files(
    files: ChatFiles, bases: Bases, chats: Chats, chat: str, drop: Dropping
) -> None:
    drop(chat, "lease.md", LEASE)
    (catalog,) = home_of(bases.data, chat).glob("g*/catalog.sqlite")
    catalog.write_bytes(b"no database at all" * 1000)
    later = ChatFiles(bases, chats)
    assert names(later, chat) == [("lease.md", "reading")]
    until_read(later, chat)
    assert names(later, chat) == [("lease.md", "read")]
    assert later.scope(ANN, chat)


def test_a_conversation_that_is_deleted_while_its_file_is_read_leaves_nothing(
    files: ChatFiles, bases: Bases, chats: Chats, chat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, deleted, read = threading.Event(), threading.Event(), chat_files.read_apart

    def held(*args: object) -> object:
        reads.set()
        assert deleted.wait(60)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(chat_files, "read_apart", held)
    assert files.attach(ANN, chat, [sent(tmp_path, "lease.md", LEASE)]) == []
    assert reads.wait(60)
    chats.delete(ANN, chat)
    deleted.set()
    until_read(files, chat)
    assert not home_of(bases.data, chat).exists()


def test_what_a_deletion_left_goes_when_the_app_starts(bases: Bases, chats: Chats, chat: str, drop: Dropping) -> None:
    drop(chat, "lease.md", LEASE)
    other = chats.begin(ANN, []).id
    drop(other, "plan.md", "# Plan\n\nPaint the hall.\n")
    chat_folders.put_aside(bases.data, [other])  # and here the app is killed
    assert "Paint the hall" in texts(bases.data)
    chat_folders.clear(bases.data)
    assert "Paint the hall" not in texts(bases.data)
    assert home_of(bases.data, chat).is_dir()


def test_files_of_chats_are_their_owners_of_the_machine_alone(bases: Bases, chat: str, drop: Dropping) -> None:
    before = os.umask(0o077)
    try:
        drop(chat, "lease.md", LEASE)
    finally:
        os.umask(before)
    for path in chat_folders.all_of(bases.data).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
