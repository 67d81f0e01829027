"""Accounts, sessions, keys and limits, on a real SQLite file with real Argon2."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.running.accounts import Accounts
from app.running.limits import Backoff, LimitError, Limits, address
from app.running.metrics import Metrics
from app.running.users import SESSION_COOKIE, User, Users
from core.config import AppConfig
from core.errors import AccessError, CatalogError, ConfigError
from core.places import is_loopback

PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    made = Accounts(tmp_path / "data")
    made.add("Ann", "admin", None, PASSWORD)
    return made


@pytest.fixture
def users(accounts: Accounts) -> Users:
    return Users(AppConfig(data=str(accounts.file.parent), users="on"))


def request(session: str = "", **headers: str) -> Any:
    return SimpleNamespace(headers=headers, cookies={SESSION_COOKIE: session} if session else {})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_users_everybody_is_the_nameless_admin() -> None:
    users = Users(AppConfig())
    users.check_ready()
    assert users.of(request()) == User("", "admin", None)
    assert users.of(request(authorization="Bearer made-up")).may("admin")


@pytest.mark.parametrize(
    ("cfg", "on"),
    [
        ({}, False), ({"host": "localhost"}, False), ({"host": "::1"}, False), ({"users": "on"}, True),
        ({"host": "0.0.0.0"}, True), ({"host": "192.168.1.5"}, True), ({"host": "::"}, True), ({"host": ""}, True),
        ({"host": "localhost.evil.example"}, True), ({"hosts": ["rag.example.com"]}, True),
    ],
)  # fmt: skip
def test_users_are_on_wherever_others_can_reach_the_app(cfg: dict[str, Any], on: bool, tmp_path: Path) -> None:
    users = Users(AppConfig(data=str(tmp_path), **cfg))
    assert users.on is on
    if on:
        with pytest.raises(ConfigError, match="ragstone user add NAME --role admin"):
            users.check_ready()
        users.accounts.add("robot", "admin", None, None)  # nobody can log in as one without a password
        with pytest.raises(ConfigError):
            users.check_ready()
        users.accounts.add("ann", "admin", None, PASSWORD)
    users.check_ready()


def test_loopback_is_told_by_address() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "example.com")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "may"), [("reader", [True, False, False]), ("editor", [True, True, False]), ("admin", [True, True, True])]
)
def test_a_role_may_what_those_before_it_may(role: Any, may: list[bool]) -> None:
    assert [User("x", role).may(other) for other in ("reader", "editor", "admin")] == may


def test_a_session_is_its_users_until_logged_out(accounts: Accounts, users: Users) -> None:
    token = accounts.begin_session(accounts.get("ann"), 1)
    assert len(token) >= 43  # 256 bits
    assert users.of(request(token)) == User("ann", "admin", None, accounts.get("ann").id)
    accounts.end_session(token)
    with pytest.raises(AccessError, match="nobody is logged in"):
        users.of(request(token))


def test_an_expired_session_is_none(accounts: Accounts, users: Users) -> None:
    with pytest.raises(AccessError):
        users.of(request(accounts.begin_session(accounts.get("ann"), 0)))


def test_changing_password_role_or_access_ends_sessions_and_leaves_keys(accounts: Accounts, users: Users) -> None:
    key = accounts.add_key("ann")
    for change in (
        lambda: accounts.set_password("ann", "another password"),
        lambda: accounts.set_role("ann", "reader"),
        lambda: accounts.set_bases("ann", ["a"]),
    ):
        token = accounts.begin_session(accounts.get("ann"), 1)
        change()
        with pytest.raises(AccessError):
            users.of(request(token))
    assert users.of(request(authorization=f"Bearer {key}")) == User("ann", "reader", ("a",), accounts.get("ann").id)
    assert accounts.check("ann", PASSWORD) is None
    assert accounts.check("ann", "another password") == accounts.get("ann")


def test_a_removed_user_is_out_with_sessions_and_keys(accounts: Accounts, users: Users) -> None:
    token, key = accounts.begin_session(accounts.get("ann"), 1), accounts.add_key("ann")
    accounts.remove("ANN")
    for asked in (request(token), request(authorization=f"Bearer {key}")):
        with pytest.raises(AccessError):
            users.of(asked)
    assert accounts.keys_of() == []
    assert accounts.check("ann", PASSWORD) is None


def test_a_wrong_key_is_not_made_good_by_a_session(accounts: Accounts, users: Users) -> None:
    token = accounts.begin_session(accounts.get("ann"), 1)
    with pytest.raises(AccessError, match="unknown, revoked or expired"):
        users.of(request(token, authorization="Bearer rs-wrong"))
    assert users.of(request(token, authorization="Basic YTpi")).name == "ann"  # a proxy's own


def test_require_names_role_and_knowledge_base(accounts: Accounts, users: Users) -> None:
    accounts.add("bob", "reader", ["hr"], None)
    asked = request(authorization=f"bearer {accounts.add_key('bob')}")
    assert users.require(asked, "reader", "hr").bases == ("hr",)
    with pytest.raises(AccessError, match="editor"):
        users.require(asked, "editor", "hr")
    with pytest.raises(AccessError, match="secret"):
        users.require(asked, "reader", "secret")


def test_keys_expire_are_revoked_and_are_told_apart_by_their_beginning(accounts: Accounts) -> None:
    kept, dead, gone = accounts.add_key("ann", "laptop"), accounts.add_key("ann", "", -1), accounts.add_key("ann")
    assert accounts.by_key(dead) is None
    accounts.revoke_key("ann", gone[:8])
    assert accounts.by_key(gone) is None
    found = accounts.by_key(kept)
    assert found is not None
    assert found.name == "ann"
    (shown,) = (key for key in accounts.keys_of("ann") if key.label == "laptop")
    assert kept.startswith(shown.prefix)
    assert len(shown.prefix) == 8
    assert shown.used is not None
    for wrong in ("", "rs-", "rs-none!"):
        with pytest.raises(AccessError, match="begin with"):
            accounts.revoke_key("ann", wrong)


def test_no_secret_stands_in_the_file_and_only_its_owner_may_read_it(accounts: Accounts) -> None:
    key, token = accounts.add_key("ann"), accounts.begin_session(accounts.get("ann"), 1)
    files = list(accounts.file.parent.iterdir())
    raw = b"".join(file.read_bytes() for file in files)
    assert all(secret.encode() not in raw for secret in (key, token, PASSWORD))
    assert b"$argon2id$" in raw
    assert accounts.file in files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_names_are_one_whatever_their_case_or_width(accounts: Accounts) -> None:
    with pytest.raises(AccessError, match="already"):
        accounts.add("ＡＮＮ", "reader", None, PASSWORD)
    accounts.add("张三", "reader", None, PASSWORD)
    assert [account.name for account in accounts.all()] == ["ann", "张三"]
    for bad in ("", " ", "a b", "../x", "a\n", "x" * 65, "<b>", "-x"):
        with pytest.raises(AccessError, match="cannot be"):
            accounts.add(bad, "reader", None, PASSWORD)


@pytest.mark.parametrize("bad", ["", "short", "x" * 1025, "ann@example.com"])
def test_a_password_that_is_too_short_too_long_or_the_name_is_refused(accounts: Accounts, bad: str) -> None:
    with pytest.raises(AccessError, match="will not do"):
        accounts.add("Ann@example.com", "reader", None, bad)
    assert len(accounts.all()) == 1


def test_a_password_is_the_same_however_its_characters_are_written(accounts: Accounts) -> None:
    accounts.add("zoe", "reader", None, "cafe\u0301 au lait")
    assert accounts.check("Zoe", "caf\u00e9 au lait") == accounts.get("zoe")
    assert accounts.check("zoe", "cafe au lait!") is None


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "users.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(CatalogError, match=r"users\.sqlite"):
        Accounts(tmp_path).all()


def test_the_app_reads_while_the_command_line_writes(accounts: Accounts) -> None:
    key = accounts.add_key("ann")
    accounts.by_key(key)
    with sqlite3.connect(accounts.file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert accounts.by_key(key) is not None
        other.execute("ROLLBACK")


def test_answers_flow_back_at_their_rate() -> None:
    clock = Clock()
    limits = Limits(6, 0, Metrics(), clock)
    for _ in range(6):
        limits.admit("a")
    with pytest.raises(LimitError) as caught:
        limits.admit("a")
    assert caught.value.retry_after_s == pytest.approx(10.0)  # six a minute: one in ten seconds
    limits.admit("b")
    clock.now += 9.9
    with pytest.raises(LimitError):
        limits.admit("a")
    clock.now += 0.2
    limits.admit("a")
    with pytest.raises(LimitError):
        limits.admit("a")


def test_a_question_that_was_counted_when_it_was_asked_is_not_counted_again() -> None:
    limits = Limits(2, 1, Metrics(), Clock())
    limits.take("a")
    with limits.admit("a", taken=True), pytest.raises(LimitError, match="1 answers"):
        limits.admit("a", taken=True)
    limits.take("a")
    with pytest.raises(LimitError, match="2 questions"):
        limits.take("a")


def test_no_more_answers_at_once_than_allowed_and_a_failed_one_makes_room() -> None:
    limits = Limits(0, 2, Metrics())
    first = limits.admit("a")
    with pytest.raises(ValueError, match="broke"), limits.admit("a"):  # noqa: PT012
        with pytest.raises(LimitError, match="2 answers"):
            limits.admit("a")
        limits.admit("b")
        raise ValueError("broke")
    limits.admit("a")
    first.release()
    first.release()  # counts once
    limits.admit("a")
    with pytest.raises(LimitError):
        limits.admit("a")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.running.limits._REMEMBERED", 3)
    limits, backoff = Limits(1, 0, Metrics()), Backoff(1)
    for who in "abcd":
        limits.admit(who)
        backoff.attempt(who)
    limits.admit("a")  # forgotten
    with pytest.raises(LimitError):
        limits.admit("d")
    assert backoff.attempt("a") == 0.0
    assert backoff.attempt("d") > 0.0


def test_a_guesser_waits_twice_as_long_each_time_up_to_a_minute() -> None:
    clock = Clock()
    backoff = Backoff(3, clock)
    assert [backoff.attempt("ann") for _ in range(3)] == [0.0] * 3
    waits = []
    for _ in range(9):
        waits.append(backoff.attempt("ann"))
        clock.now += waits[-1]
        assert backoff.attempt("ann") == 0.0
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.attempt("bob") == 0.0
    backoff.forgive("ann", all_=False)
    clock.now += 60
    assert [backoff.attempt("ann") for _ in range(2)] == [0.0, 60.0]
    backoff.forgive("ann", all_=True)
    assert backoff.attempt("ann") == 0.0


def test_many_guesses_at_once_gain_nothing() -> None:
    backoff = Backoff(5, Clock())
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: backoff.attempt("ann"), range(100)))
    assert waits.count(0.0) == 5


def test_an_ipv6_network_counts_as_one_address() -> None:
    def of(host: str) -> str:
        return address(SimpleNamespace(client=SimpleNamespace(host=host)))

    assert of("2001:db8::1") == of("2001:db8::ffff:1")
    assert of("2001:db8:0:1::1") != of("2001:db8::1")
    assert (of("10.0.0.1"), of("testclient")) == ("10.0.0.1", "testclient")


def test_metrics_are_prometheus_text() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.3, 500.0):
        metrics.request("GET", "/assets/x", 200, seconds)
    metrics.request("BREW", "/v1/models", 405, 0.1)
    metrics.answering()
    lines = metrics.render({'a"b\\': 7}).splitlines()
    metrics.answered(2.0)
    assert 'ragstone_http_requests_total{method="GET",route="/",status="200"} 3' in lines
    assert 'ragstone_http_requests_total{method="other",route="/v1/models",status="405"} 1' in lines
    name = "ragstone_http_request_duration_seconds"
    assert f'{name}_bucket{{route="/",le="0.005"}} 1' in lines
    assert f'{name}_bucket{{route="/",le="0.5"}} 2' in lines
    assert f'{name}_bucket{{route="/",le="120.0"}} 2' in lines
    assert f'{name}_bucket{{route="/",le="+Inf"}} 3' in lines
    assert f'{name}_count{{route="/"}} 3' in lines
    assert "ragstone_answers_running 1" in lines
    assert 'ragstone_chunks{kb="a\\"b\\\\"} 7' in lines
    later = metrics.render({})
    assert "ragstone_answers_running 0" in later
    assert "ragstone_answer_duration_seconds_sum 2.0" in later
