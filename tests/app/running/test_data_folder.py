"""Where the data folder of a process that runs goes away, nothing is begun in its place; it goes on when it is back."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.running import audit
from app.running.accounts import Accounts
from app.running.bases import Bases, State
from app.running.chats import Chats, Reader
from app.running.usage import Usage
from core.config import load
from core.errors import CatalogError
from tests.conftest import SMALL

ANN = Reader("ann", {"hr": "1"})
PASSWORD = "correct horse battery"
Leave = Callable[[Path], None]


def renamed(data: Path) -> None:
    data.rename(data.with_name("away"))


def unmounted(data: Path) -> None:
    """As a mount point is without its disk: another folder, and empty."""
    renamed(data)
    data.mkdir()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    return data


def back(data: Path) -> None:
    if data.exists():
        data.rmdir()  # raises where anything was written into it
    data.with_name("away").rename(data)


def refused(*uses: Callable[[], object]) -> None:
    for use in uses:
        with pytest.raises(CatalogError, match="is not there") as error:
            use()
        assert "mount" in error.value.hint


@pytest.mark.parametrize("leave", [renamed, unmounted])
@pytest.mark.parametrize("written", [True, False])
def test_accounts_and_chats_are_neither_begun_anew_nor_taken_for_none(data: Path, leave: Leave, written: bool) -> None:
    accounts, usage = Accounts(data), Usage(data)
    with closing(Chats(data)) as chats:
        if written:
            accounts.add("ann", "admin", None, PASSWORD)
            chats.begin(ANN, ["hr"])
            usage.count("ann", "page", ["hr"])
        leave(data)
        refused(
            accounts.all, lambda: accounts.check("ann", PASSWORD), lambda: accounts.by_session("x"),
            lambda: accounts.by_key("x"), lambda: accounts.add("eve", "admin", None, PASSWORD), accounts.subjects,
            lambda: chats.latest(ANN), lambda: chats.begin(ANN, ["hr"]), lambda: chats.delete_all("ann"),
            lambda: usage.totals(1),
        )  # fmt: skip
        usage.count("ann", "page", ["hr"])  # is logged: no answer fails for it
        back(data)
        assert [account.name for account in accounts.all()] == (["ann"] if written else [])
        assert chats.latest(ANN) == []
        assert [row.total for row in usage.totals(1)] == ([1] if written else [])


@pytest.mark.parametrize("leave", [renamed, unmounted])
@pytest.mark.parametrize("known", [True, False])
def test_no_log_of_deeds_is_begun_anew(data: Path, leave: Leave, known: bool) -> None:
    if known:
        audit.record(data, "ann", "user.add", "bob")
    else:
        audit.begin(data)
    leave(data)
    refused(lambda: audit.record(data, "eve", "user.add", "eve"), lambda: audit.entries(data))
    back(data)
    audit.record(data, "ann", "user.remove", "bob")
    assert [row.what for row in audit.entries(data)] == ["user.remove", "user.add"][: 2 if known else 1]


@pytest.mark.parametrize("leave", [renamed, unmounted])
def test_no_knowledge_base_is_begun_in_its_place(data: Path, leave: Leave, write: Callable[[str, str], Path]) -> None:
    bases = Bases(load(flags={"app.data": str(data)} | SMALL, environ={}).config)
    leave(data)
    refused(lambda: bases.make("new"), lambda: bases.upload("new", [write("a.md", "A.")]))
    back(data)
    assert bases.make("new").counts().documents == 0


def test_an_app_that_starts_knows_its_folder_before_the_first_deed(data: Path) -> None:
    State(load(flags={"app.data": str(data)}, environ={}))
    unmounted(data)
    refused(lambda: audit.record(data, "eve", "user.add", "eve"))
    assert list(data.iterdir()) == []


def test_a_data_folder_that_was_never_there_is_made_and_kept_an_eye_on(tmp_path: Path) -> None:
    data = tmp_path / "a" / "data"
    accounts = Accounts(data)
    assert accounts.all() == []
    accounts.add("ann", "admin", None, PASSWORD)
    audit.record(data, "ann", "user.add", "ann")
    unmounted(data)
    refused(accounts.all, lambda: audit.record(data, "ann", "user.add", "ann"))


def test_a_copy_that_is_put_in_its_place_counts(data: Path, tmp_path: Path) -> None:
    accounts = Accounts(data)
    accounts.add("ann", "admin", None, PASSWORD)
    other = Accounts(tmp_path / "copy")
    other.add("bob", "admin", None, PASSWORD)
    renamed(data)
    (tmp_path / "copy").rename(data)
    assert [account.name for account in accounts.all()] == ["bob"]
