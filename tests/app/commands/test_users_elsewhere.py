"""`ragstone user` for accounts from elsewhere, and `ragstone usage`."""

import json
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from app.commands.users import usage, user
from app.running.accounts import Accounts, Identity
from app.running.audit import entries
from app.running.usage import Usage
from core.config import Settings, load
from core.errors import AccessError, ConfigError

ISSUER = "https://sso.example.com/realms/office"
BOB = Identity("oidc", ISSUER, "248289761001")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = {"app.data": str(tmp_path / "data"), "oidc.issuer": ISSUER, "oidc.client_id": "x"}
    return load(flags=flags, environ={})


@pytest.fixture
def accounts(settings: Settings) -> Accounts:
    accounts = Accounts(Path(settings.config.app.data))
    accounts.arrive(BOB, ["bob", "bob@sso.example.com"], "reader", ["handbook"], time.time() + 100)
    return accounts


def run(settings: Settings, *args: str, command: typer.Typer = user) -> Result:
    return CliRunner().invoke(command, args, obj=settings, catch_exceptions=False)


def test_the_list_says_whence_an_account_comes_and_what_was_set_by_hand(settings: Settings, accounts: Accounts) -> None:
    run(settings, "role", "bob", "editor")
    (row,) = json.loads(run(settings, "list", "--json").stdout)["users"]
    assert row == {
        "name": "bob", "role": "editor", "bases": ["handbook"], "password": False, "keys": 0, "source": "oidc",
        "issuer": ISSUER, "subject": "oidc:248289761001", "by_hand": ["role"],
        "until": accounts.get("bob").until,
    }  # fmt: skip
    table = " ".join(run(settings, "list").stdout.split())
    assert "editor (by hand) handbook oidc" in table
    assert ISSUER[:20] in table
    assert "(closed)" not in table
    accounts.close(BOB)
    assert "(closed)" in run(settings, "list").stdout
    assert run(settings, "by-groups", "bob").exit_code == 0
    assert accounts.get("bob").by_hand == ()
    assert [entry.what for entry in entries(accounts.file.parent)] == ["user.by-groups", "user.role"]


def test_a_person_is_linked_to_an_account_made_here(settings: Settings, accounts: Accounts) -> None:
    accounts.add("robin", "editor", None, "correct horse battery")
    with pytest.raises(AccessError, match="opens another account already"):
        run(settings, "link", "robin", "oidc:248289761001")
    with pytest.raises(AccessError, match="comes by oidc itself"):
        run(settings, "link", "bob", "oidc:7")
    for nobody in ("248289761001", "ldap:7", "oidc:", "saml:7"):
        with pytest.raises(ConfigError, match="names nobody"):
            run(settings, "link", "robin", nobody)
    run(settings, "remove", "bob")
    assert run(settings, "link", "robin", "oidc:248289761001").exit_code == 0
    account, done = accounts.arrive(BOB, ["bob"], "reader", [], time.time())
    assert (account.name, account.role, account.bases, done) == ("robin", "editor", None, "")
    assert entries(accounts.file.parent)[0].what == "user.link"


def test_a_password_is_not_given_to_an_account_from_elsewhere(settings: Settings, accounts: Accounts) -> None:
    done = CliRunner().invoke(
        user, ["password", "bob", "--password-stdin"], obj=settings, input="correct horse battery\n"
    )
    assert isinstance(done.exception, AccessError)
    assert not accounts.get("bob").has_password


def test_usage_is_counts_by_person_and_knowledge_base(settings: Settings, accounts: Accounts) -> None:
    told = typer.Typer()
    told.command()(usage)
    assert "nothing was asked" in run(settings, command=told).stdout
    counts, bob = Usage(accounts.file.parent), accounts.get("bob").id
    for surface in ("page", "page", "api", "mcp"):
        counts.count(bob, surface, ["handbook"])
    counts.count("", "page", ["other"])
    rows = json.loads(run(settings, "--json", command=told).stdout)
    assert rows["days"] == 30
    day = rows["usage"][0].pop("last")
    assert rows["usage"][0] == {"user": "bob", "kb": "handbook", "page": 2, "api": 1, "mcp": 1, "total": 4}
    assert rows["usage"][1]["user"] == ""
    assert day in run(settings, "--days", "1", command=told).stdout
    run(settings, "remove", "bob")
    assert [row.user for row in counts.totals(30)] == [""]
