"""`ragstone user`: what an admin types, and what stays secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.commands.users import user
from app.running.accounts import Accounts
from app.running.chats import Chats, Reader
from core.config import Settings, load
from core.errors import AccessError, ConfigError, RagstoneError

PASSWORD = "correct horse battery"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(flags={"app.data": str(tmp_path / "data"), "app.users": "on"}, environ={})


@pytest.fixture
def accounts(settings: Settings) -> Accounts:
    return Accounts(Path(settings.config.app.data))


def run(settings: Settings, *args: str, stdin: str = "") -> Result:
    return CliRunner().invoke(user, args, obj=settings, input=stdin, catch_exceptions=False)


def test_a_user_is_added_with_a_password_from_stdin_and_listed(settings: Settings, accounts: Accounts) -> None:
    done = run(settings, "add", "Ann", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.exit_code == 0
    assert PASSWORD not in done.output
    assert accounts.check("ann", PASSWORD) == accounts.get("ann")
    run(settings, "add", "robot", "--no-password", "--kb", "hr", "--kb", "it")
    run(settings, "key", "add", "robot")
    here = {"source": "", "issuer": "", "subject": "", "by_hand": [], "until": None}
    assert json.loads(run(settings, "list", "--json").stdout) == {
        "users": [
            {"name": "ann", "role": "admin", "bases": None, "password": True, "keys": 0} | here,
            {"name": "robot", "role": "reader", "bases": ["hr", "it"], "password": False, "keys": 1} | here,
        ]
    }
    table = run(settings, "list").stdout
    assert "hr, it" in table
    assert "all" in table


def test_a_password_is_typed_twice_and_not_shown(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.users.typed", lambda: True)
    wrong_first = f"{PASSWORD}\nanother one\n{PASSWORD}\n{PASSWORD}\n"
    done = run(settings, "add", "ann", stdin=wrong_first)
    assert "do not match" in done.output
    assert PASSWORD not in done.output
    accounts = Accounts(Path(settings.config.app.data))
    assert accounts.check("ann", PASSWORD) == accounts.get("ann")


@pytest.mark.parametrize(
    ("args", "stdin", "why"),
    [
        (("add", "ann"), "", "--password-stdin"),
        (("add", "ann", "--password-stdin"), "short\n", "will not do"),
        (("add", "ann", "--role", "king", "--no-password"), "", "'king'"),
        (("add", "a b", "--no-password"), "", "cannot be"),
        (("add", "ann", "--no-password", "--password-stdin"), "", "contradict"),
        (("remove", "ann"), "", "no users yet"),
        (("key", "add", "ann"), "", "no users yet"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    settings: Settings, args: tuple[str, ...], stdin: str, why: str
) -> None:
    with pytest.raises(RagstoneError, match=why) as caught:
        run(settings, *args, stdin=stdin)
    assert isinstance(caught.value, AccessError | ConfigError)
    assert caught.value.hint


def test_role_access_password_and_removal_change_what_is_stored(settings: Settings, accounts: Accounts) -> None:
    accounts.add("ann", "admin", None, PASSWORD)
    run(settings, "role", "ann", "editor")
    run(settings, "access", "ANN", "--kb", "hr")
    run(settings, "password", "ann", "--password-stdin", stdin="another password\r\n")
    (ann,) = accounts.all()
    assert (ann.role, ann.bases) == ("editor", ("hr",))
    assert accounts.check("ann", "another password") == accounts.get("ann")
    run(settings, "access", "ann")
    assert accounts.all()[0].bases is None
    run(settings, "remove", "ann")
    assert accounts.all() == []
    with pytest.raises(AccessError, match="no user 'ann'"):
        run(settings, "role", "ann", "admin")


def test_a_removed_user_takes_their_conversations_along_and_nobody_elses(
    settings: Settings, accounts: Accounts
) -> None:
    chats, found = Chats(accounts.file.parent), {}
    for name in ("ann", "bob"):
        accounts.add(name, "reader", None, None)
        found[name] = Reader(accounts.get(name).id, {})
        chats.ask(found[name], chats.begin(found[name], []).id, None, f"a question of {name}")
    assert "1 conversations" in run(settings, "remove", "Bob").stdout
    assert [chat.title for chat in chats.latest(found["ann"])] == ["a question of ann"]
    assert chats.latest(found["bob"]) == []
    with pytest.raises(AccessError, match="no user 'bob'"):
        run(settings, "remove", "bob")


def test_a_key_is_shown_once_listed_by_its_beginning_and_revoked(settings: Settings, accounts: Accounts) -> None:
    accounts.add("ann", "admin", None, None)
    key = run(settings, "key", "add", "ann", "--label", "editor [x]", "--days", "1").stdout.strip()
    assert accounts.by_key(key) is not None
    listed = run(settings, "key", "list").stdout
    assert key[:8] in listed
    assert "editor [x]" in listed
    assert key not in listed
    (row,) = json.loads(run(settings, "key", "list", "ann", "--json").stdout)["keys"]
    assert row["expires"] - row["made"] == pytest.approx(86400)
    assert json.loads(run(settings, "key", "list", "bob", "--json").stdout) == {"keys": []}
    run(settings, "key", "revoke", "ann", key[:8])
    assert accounts.by_key(key) is None


def test_an_unknown_knowledge_base_is_remarked(settings: Settings) -> None:
    assert "'handbok' yet" in run(settings, "add", "ann", "--no-password", "--kb", "handbok").output
