"""What somebody's groups make of them here, and under which name."""

import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.running.accounts import ROLES, Accounts, Identity
from app.running.arriving import Person, let_in, rights
from core.config import LdapConfig, OidcConfig, load
from core.errors import AccessError, ConfigError

ISSUER = "https://sso.example.com/realms/office"
NAMES = st.sampled_from("abcd")
RIGHTS = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES)}, optional={"kbs": st.lists(st.sampled_from(["x", "y", "z"]), unique=True)}
)
_SUBJECTS = count()


@given(st.sets(NAMES), st.dictionaries(NAMES, RIGHTS))
def test_of_several_groups_the_highest_role_counts_for_the_knowledge_bases_of_all(
    groups: set[str], mapping: dict[str, Any]
) -> None:
    held = [allowed for group, allowed in mapping.items() if group in groups]
    found = rights(groups, mapping)
    if not held:
        assert found is None
        return
    assert found
    assert found.role == max((each["role"] for each in held), key=ROLES.index)
    if any("kbs" not in each for each in held):
        assert found.kbs is None
    else:
        assert found.kbs == sorted({kb for each in held for kb in each["kbs"]})


def test_a_star_is_everybody_who_gets_in_there() -> None:
    found = rights([], {"*": {"role": "reader", "kbs": ["handbook"]}})
    assert found
    assert (found.role, found.kbs) == ("reader", ["handbook"])
    both = rights(["boss"], {"*": {"kbs": []}, "boss": {"role": "admin", "kbs": ["x"]}})
    assert both
    assert (both.role, both.kbs) == ("admin", ["x"])
    assert rights(["*"], {"boss": {"role": "admin"}}) is None
    assert rights([], {}) is None


@pytest.mark.parametrize("section", [OidcConfig, LdapConfig])
@pytest.mark.parametrize("wrong", [{"role": "boss"}, {"kbs": "handbook"}, {"rolle": "admin"}, {"role": None}], ids=str)
def test_a_group_that_is_written_wrongly_is_told_at_the_start(section: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="what the group 'staff' may"):
        section(groups={"staff": wrong})


def test_groups_are_written_in_the_file_as_tables(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[oidc]\nissuer = "https://a.example"\n[oidc.groups.staff]\nkbs = ["handbook"]\n')
    loaded = load(file, environ={"RAGSTONE_OIDC__CLIENT_SECRET": "s3cret"})
    assert loaded.config.oidc.groups == {"staff": {"kbs": ["handbook"]}}
    rows = {name: value for name, value, _ in loaded.rows()}
    assert rows["oidc.client_secret"] == "***"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("oidc.issuer", "http://sso.example.com"), ("oidc.issuer", "sso.example.com"), ("oidc.issuer", "https://a/?b=c"),
        ("oidc.issuer", "https://user:pw@a"), ("oidc.session_hours", "1000"), ("ldap.url", "https://dc.example.com"),
        ("ldap.url", "ldaps://"), ("ldap.filter", "(uid=ann)"), ("ldap.tls", "never"), ("ldap.session_hours", "0"),
    ],
)  # fmt: skip
def test_what_would_not_be_safe_or_bounded_is_refused(tmp_path: Path, setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=setting.replace(".", r"\.")):
        load(flags={setting: value, "app.data": str(tmp_path)}, environ={})


def somebody(name: str, subject: str = "") -> Person:
    return Person(Identity("oidc", ISSUER, subject or f"s{next(_SUBJECTS)}"), name, ("staff",))


def arrived(accounts: Accounts, person: Person, **allowed: Any) -> str:
    return let_in(accounts, accounts.file.parent, person, {"staff": allowed}, 30).name


def test_names_that_are_taken_get_where_they_come_from_then_a_number(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.add("ann", "admin", None, None)
    assert [arrived(accounts, somebody(name)) for name in ("Ann", "ANN", "ａｎｎ", "bob")] == [
        "ann@sso.example.com", "ann-2", "ann-3", "bob",
    ]  # fmt: skip
    person = Person(Identity("ldap", "ou=people,dc=example,dc=com", "1"), "ann", ("staff",))
    assert arrived(accounts, person) == "ann@example.com"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=80))
def test_whatever_somebody_is_called_they_get_an_account_of_their_own(tmp_path_factory: Any, name: str) -> None:
    accounts = Accounts(tmp_path_factory.mktemp("names"))
    accounts.add("ann", "admin", None, None)
    first, second = somebody(name), somebody(name)
    names = [arrived(accounts, person) for person in (first, second, first)]
    assert names[0] == names[2]
    assert len({"ann", *names}) == 3


def test_the_same_subject_elsewhere_is_somebody_else(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    ids = set()
    for source, issuer in (("oidc", ISSUER), ("oidc", "https://other.example"), ("ldap", ISSUER)):
        who = Identity(source, issuer, "1")  # type: ignore[arg-type]
        ids.add(let_in(accounts, tmp_path, Person(who, "ann", ("staff",)), {"staff": {}}, 30).id)
    assert len(ids) == 3


def test_keys_and_sessions_of_an_account_that_is_closed_work_no_more(tmp_path: Path) -> None:
    accounts, person = Accounts(tmp_path), somebody("ann", "1")
    account = let_in(accounts, tmp_path, person, {"staff": {}}, 30)
    key, token = accounts.add_key("ann"), accounts.begin_session(account, 1)
    assert accounts.by_key(key)
    with pytest.raises(AccessError, match="in none of the groups"):
        let_in(accounts, tmp_path, person, {"others": {}}, 30)
    assert accounts.by_key(key) is None
    assert accounts.by_session(token) is None
    assert accounts.by_session(accounts.begin_session(account, 1)) is None
    assert (accounts.get("ann").until or 0) < time.time()
