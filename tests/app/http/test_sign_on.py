"""Log in by a real provider and a real directory, over the app's own pages, and what an attacker makes of it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from app.http import coming_back
from app.http.coming_back import COOKIE, DONE
from app.http.server import build
from app.http.subpath import SubPath
from app.running.audit import entries
from app.running.bases import State
from app.running.users import SESSION_COOKIE
from core.config import AppConfig, Config, LdapConfig, LlmConfig, OidcConfig, Settings
from core.errors import ConfigError
from tests.app.office import ADMINS, PASSWORD, STAFF, Idp, Slapd, idp, slapd

pytestmark = pytest.mark.slow

HERE, BELOW = "http://127.0.0.1:7999", "http://rag.example.com/team/rag"
CLIENT = {"id": "ragstone", "secret": "a secret of the tests"}
GROUPS: dict[str, dict[str, Any]] = {"staff": {"role": "reader", "kbs": ["handbook"]}, "boss": {"role": "admin"}}
PAGE = {"accept": "text/html"}
CAME = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with idp(tmp_path_factory.mktemp("idp"), [f"{HERE}{DONE}", f"{BELOW}{DONE}"], CLIENT) as there:
        yield there


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as directory:
        directory.person("ann", STAFF, ADMINS)
        yield directory


@pytest.fixture
def people(there: Idp) -> Idp:
    there.people(ann=["staff", "boss"], bob=["staff"], carl=["others"])
    return there


def state_of(data: Path, oidc: OidcConfig | None = None, ldap: LdapConfig | None = None, **app: Any) -> State:
    config = Config(
        app=AppConfig(data=str(data), **app), llm=LlmConfig(backend="extractive"), oidc=oidc or OidcConfig(),
        ldap=ldap or LdapConfig(),
    )  # fmt: skip
    return State(Settings(config, {}, None))


def by_provider(there: Idp, **more: Any) -> OidcConfig:
    given: dict[str, Any] = {
        "issuer": there.issuer,
        "client_id": CLIENT["id"],
        "client_secret": CLIENT["secret"],
        "groups": GROUPS,
    }
    return OidcConfig(**given | more)


def browser_of(state: State, url: str = HERE) -> TestClient:
    root = state.cfg.app.root_path
    app = build(state)
    return TestClient(SubPath(app, root) if root else app, base_url=url, follow_redirects=False)


def sent(browser: TestClient, path: str = "/login/oidc") -> str:
    """Where the button leads."""
    led = browser.get(path, headers=PAGE)
    assert led.status_code == 303, led.text
    return led.headers["location"]


def back(there: Idp, url: str, name: str) -> str:
    """The way back from the provider, without the site: path and query."""
    with httpx.Client(timeout=30) as elsewhere:
        parts = urlsplit(there.log_in(elsewhere, url, name))
    return f"{parts.path}?{parts.query}"


def log_in(browser: TestClient, there: Idp, name: str) -> Any:
    return browser.get(back(there, sent(browser), name), headers=PAGE | CAME)


def me(browser: TestClient) -> str:
    """Who the app says is logged in; "" for nobody."""
    found = re.search(r"<p>You are logged in as (.*?)\.</p>", browser.get("/logout", headers=PAGE).text)
    return found[1] if found else ""


@pytest.fixture
def app(people: Idp, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The app with a provider and an account with a password."""
    state = state_of(tmp_path / "data", by_provider(people))
    state.users.check_ready()
    state.users.accounts.add("robin", "editor", None, PASSWORD)
    with browser_of(state) as browser:
        yield SimpleNamespace(state=state, browser=browser, accounts=state.users.accounts, idp=people)


def test_a_person_of_a_group_gets_in_with_what_the_group_may(app: SimpleNamespace) -> None:
    page = app.browser.get("/login?to=/%3Fchat%3Da", headers=PAGE)
    assert 'href="login/oidc?to=/%3Fchat%3Da"' in page.text
    assert "Log in with 127.0.0.1" in page.text
    done = app.browser.get(back(app.idp, sent(app.browser, "/login/oidc?to=/%3Fchat%3Da"), "bob"), headers=PAGE | CAME)
    assert (done.status_code, done.headers["location"]) == (303, "/?chat=a")
    cookie = next(line for line in done.headers.get_list("set-cookie") if line.startswith(SESSION_COOKIE)).lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=43200" in cookie
    assert me(app.browser) == "bob (reader)"
    bob = app.accounts.get("bob")
    assert (bob.source, bob.role, bob.bases, bob.has_password) == ("oidc", "reader", ("handbook",), False)
    assert [entry.what for entry in entries(app.state.bases.data)] == ["user.add"]
    assert log_in(app.browser, app.idp, "ann").status_code == 303
    assert me(app.browser) == "ann (admin)"  # the session before has ended
    assert (app.accounts.get("ann").role, app.accounts.get("ann").bases) == ("admin", None)


def test_somebody_in_no_group_that_may_is_told_so_and_has_no_account(app: SimpleNamespace) -> None:
    done = log_in(app.browser, app.idp, "carl")
    assert done.status_code == 403
    assert "none of your groups" in done.text
    assert me(app.browser) == ""
    assert [account.name for account in app.accounts.all()] == ["robin"]


def test_groups_count_anew_at_each_login_and_what_an_admin_set_stays(app: SimpleNamespace) -> None:
    log_in(app.browser, app.idp, "bob")
    before = app.accounts.get("bob")
    app.idp.people(bob=["boss"])
    log_in(app.browser, app.idp, "bob")
    after = app.accounts.get("bob")
    assert (after.id, after.role, after.bases) == (before.id, "admin", None)
    app.accounts.set_role("bob", "reader")
    app.accounts.set_bases("bob", ["other"])
    log_in(app.browser, app.idp, "bob")
    held = app.accounts.get("bob")
    assert (held.role, held.bases, held.by_hand) == ("reader", ("other",), ("role", "bases"))
    app.accounts.go_by_groups("bob")
    log_in(app.browser, app.idp, "bob")
    assert (app.accounts.get("bob").role, app.accounts.get("bob").by_hand) == ("admin", ())


def test_who_left_the_groups_is_out_with_sessions_and_keys_and_comes_back_as_the_same(app: SimpleNamespace) -> None:
    log_in(app.browser, app.idp, "bob")
    known, key = app.accounts.get("bob"), app.accounts.add_key("bob")
    program = {"authorization": f"Bearer {key}"}
    assert app.browser.get("/v1/models", headers=program).status_code == 200
    app.idp.people(bob=["others"])
    with browser_of(app.state) as elsewhere:
        assert log_in(elsewhere, app.idp, "bob").status_code == 403
    assert me(app.browser) == ""
    assert app.browser.get("/v1/models", headers=program).status_code == 401
    assert entries(app.state.bases.data)[0].what == "user.close"
    app.idp.people(bob=["staff"])
    assert log_in(app.browser, app.idp, "bob").status_code == 303
    assert app.accounts.get("bob").id == known.id
    assert app.browser.get("/v1/models", headers=program).status_code == 200


def test_keys_end_some_days_after_the_last_login(app: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(app.browser, app.idp, "bob")
    key, now = app.accounts.add_key("bob"), time.time()
    for days, works in ((29, True), (31, False)):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        assert (app.accounts.by_key(key) is not None) is works


def test_a_name_that_is_taken_here_stays_its_owners(app: SimpleNamespace) -> None:
    app.accounts.add("bob", "admin", None, PASSWORD)
    assert log_in(app.browser, app.idp, "bob").status_code == 303
    assert me(app.browser) == "bob@127.0.0.1 (reader)"
    assert app.accounts.get("bob").source == ""
    assert app.accounts.check("bob@127.0.0.1", PASSWORD) is None
    with browser_of(app.state) as other:
        assert other.post("/login", data={"name": "bob", "password": PASSWORD}).status_code == 303
        assert me(other) == "bob (admin)"


def test_an_admin_links_a_person_to_an_account_that_keeps_its_own_rights(app: SimpleNamespace) -> None:
    from app.running.accounts import Identity

    log_in(app.browser, app.idp, "bob")
    subject = app.accounts.subjects()[app.accounts.get("bob").id].partition(":")[2]
    app.accounts.remove("bob")
    app.accounts.link("robin", Identity("oidc", app.idp.issuer, subject))
    done = log_in(app.browser, app.idp, "bob")
    assert done.status_code == 303
    assert "max-age=43200" in " ".join(done.headers.get_list("set-cookie")).lower()  # not the week of a password
    assert me(app.browser) == "robin (editor)"
    app.idp.people(bob=["others"])
    with browser_of(app.state) as other:
        assert log_in(other, app.idp, "bob").status_code == 403
        assert other.post("/login", data={"name": "robin", "password": PASSWORD}).status_code == 303


# --- attacks ---------------------------------------------------------------------------------------------------------


def test_a_way_back_works_once(app: SimpleNamespace) -> None:
    url = sent(app.browser)
    cookie = app.browser.cookies[COOKIE]
    way = back(app.idp, url, "bob")
    assert app.browser.get(way, headers=CAME).status_code == 303
    app.browser.cookies.set(COOKIE, cookie)
    again = app.browser.get(way, headers=CAME)
    assert again.status_code == 400
    assert "begun elsewhere" in again.text


def test_a_way_back_is_of_the_browser_that_began(app: SimpleNamespace) -> None:
    """What somebody sends as a link, to have another work in their account."""
    way = back(app.idp, sent(app.browser), "bob")
    with browser_of(app.state) as victim:
        assert victim.get(way, headers=CAME).status_code == 400
        sent(victim)
        assert victim.get(way, headers=CAME).status_code == 400
        assert me(victim) == ""
    assert app.browser.get(way, headers=CAME).status_code == 303


def test_a_code_of_another_login_does_not_fit_verifier_and_nonce(app: SimpleNamespace) -> None:
    """A stolen code, put behind one's own state."""
    stolen = parse_qs(urlsplit(back(app.idp, sent(app.browser), "ann")).query)["code"][0]
    with browser_of(app.state) as thief:
        own = parse_qs(urlsplit(sent(thief)).query)["state"][0]
        done = thief.get(DONE, params={"state": own, "code": stolen}, headers=CAME)
        assert done.status_code == 401
        assert me(thief) == ""


@pytest.mark.parametrize("cookie", ["", "x", "x.y", "e30.", "e30.\u00e4", "." * 50, "bnVsbA.deadbeef"], ids=range(7))
def test_a_cookie_that_this_app_did_not_write_begins_nothing(app: SimpleNamespace, cookie: str) -> None:
    headers = {"cookie": f"{COOKIE}={cookie}".encode()} | CAME
    assert app.browser.get(f"{DONE}?state=s&code=c", headers=headers).status_code == 400


def test_a_login_that_took_too_long_is_begun_again(app: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    way = back(app.idp, sent(app.browser), "bob")
    monkeypatch.setattr(coming_back, "_FOR_S", -1.0)
    assert app.browser.get(way, headers=CAME).status_code == 400


@pytest.mark.parametrize(
    "to",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "x", "/" + "x" * 5000],
    ids=range(6),
)
def test_no_login_leads_elsewhere(app: SimpleNamespace, to: str) -> None:
    url = str(httpx.URL("/login/oidc", params={"to": to}))
    done = app.browser.get(back(app.idp, sent(app.browser, url), "bob"), headers=CAME)
    assert done.headers["location"] == "/"


@pytest.mark.parametrize("host", ["evil.example/x", "a@evil.example", "evil.example?", "a b", "a\\b", ""])
def test_a_host_that_is_none_makes_no_address(app: SimpleNamespace, host: str) -> None:
    assert app.browser.get("/login/oidc", headers={"host": host}).status_code == 400


def test_a_refusal_there_is_told_without_its_words(app: SimpleNamespace) -> None:
    state = parse_qs(urlsplit(sent(app.browser)).query)["state"][0]
    done = app.browser.get(
        DONE, params={"state": state, "error": "access_denied", "error_description": "<b>call 555</b>"}, headers=CAME
    )
    assert done.status_code == 401
    assert "555" not in done.text
    assert "did not succeed" in done.text


def test_who_tries_ways_back_has_to_wait(app: SimpleNamespace) -> None:
    tried = [app.browser.get(f"{DONE}?state=s&code=c", headers=CAME).status_code for _ in range(25)]
    assert tried[:20] == [400] * 20
    assert tried[-1] == 429


def test_an_account_from_there_has_no_password_here(app: SimpleNamespace) -> None:
    from core.errors import AccessError

    log_in(app.browser, app.idp, "bob")
    assert "changed there" in app.browser.get("/password", headers=PAGE).text
    app.browser.post("/password", data={"password": "", "new": "another good one"})
    with pytest.raises(AccessError, match="has no password here"):
        app.accounts.set_password("bob", "another good one")
    assert app.browser.post("/login", data={"name": "bob", "password": "another good one"}).status_code == 401


# --- around it -------------------------------------------------------------------------------------------------------


def test_logging_out_leads_to_the_providers_logout(app: SimpleNamespace) -> None:
    log_in(app.browser, app.idp, "bob")
    page = app.browser.post("/logout")
    assert page.status_code == 200
    assert f"url={app.idp.issuer}/logout?client_id=ragstone&amp;post_logout_redirect_uri=" in page.text
    assert me(app.browser) == ""
    app.browser.post("/login", data={"name": "robin", "password": PASSWORD})
    assert app.browser.post("/logout").headers["location"] == "/login"


def test_where_the_provider_is_away_that_is_told_and_passwords_work(tmp_path: Path) -> None:
    oidc = OidcConfig(issuer="http://127.0.0.1:9", client_id="x", groups=GROUPS, label="Example & Sons")
    state = state_of(tmp_path, oidc)
    state.users.check_ready()
    state.users.accounts.add("robin", "editor", None, PASSWORD)
    with browser_of(state) as browser:
        told = browser.get("/login/oidc", headers=PAGE)
        assert told.status_code == 503
        assert "at the moment" in told.text
        assert "Log in with Example &amp; Sons" in told.text
        assert browser.post("/login", data={"name": "robin", "password": PASSWORD}).status_code == 303


def test_below_a_path_and_behind_a_proxy_the_way_back_is_the_outer_one(people: Idp, tmp_path: Path) -> None:
    state = state_of(tmp_path, by_provider(people), hosts=["rag.example.com"], root_path="/team/rag")
    with browser_of(state, "http://rag.example.com") as browser:
        url = sent(browser, "/team/rag/login/oidc?to=/%3Fkb%3Da")
        assert parse_qs(urlsplit(url).query)["redirect_uri"] == [f"{BELOW}{DONE}"]
        done = browser.get(back(people, url, "bob"), headers=CAME)
        assert (done.status_code, done.headers["location"]) == (303, "/team/rag/?kb=a")


def test_the_form_goes_only_once_an_admin_came_by_the_provider(people: Idp, tmp_path: Path) -> None:
    only = by_provider(people, only=True)
    with pytest.raises(ConfigError, match="no admin has come by it yet"):
        state_of(tmp_path, only).users.check_ready()
    state = state_of(tmp_path, by_provider(people))
    state.users.accounts.add("robin", "admin", None, PASSWORD)
    for name, ready in (("bob", False), ("ann", True)):
        with browser_of(state) as browser:
            log_in(browser, people, name)
        if ready:
            state_of(tmp_path, only).users.check_ready()
        else:
            with pytest.raises(ConfigError):
                state_of(tmp_path, only).users.check_ready()
    with browser_of(state_of(tmp_path, only)) as browser:
        assert "<form" not in browser.get("/login", headers=PAGE).text
        assert browser.post("/login", data={"name": "robin", "password": PASSWORD}).status_code == 401
        assert log_in(browser, people, "ann").status_code == 303


def test_accounts_of_a_provider_that_is_configured_no_more_open_nothing(app: SimpleNamespace) -> None:
    log_in(app.browser, app.idp, "bob")
    key, token = app.accounts.add_key("bob"), app.browser.cookies[SESSION_COOKIE]
    for oidc in (OidcConfig(), OidcConfig(issuer="https://sso.example.com", client_id="x")):
        with browser_of(state_of(app.state.bases.data, oidc, users="on")) as browser:
            browser.cookies.set(SESSION_COOKIE, token)
            assert me(browser) == ""
            assert browser.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 401


def test_new_keys_of_the_provider_are_taken_up(app: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.running.provider._KEYS_AGAIN_S", 0.0)
    assert log_in(app.browser, app.idp, "bob").status_code == 303
    app.idp.new_key()
    assert log_in(app.browser, app.idp, "bob").status_code == 303


def test_the_page_to_log_in_is_chinese_too(app: SimpleNamespace) -> None:
    assert "使用 127.0.0.1 登录" in app.browser.get("/login", headers=PAGE | {"accept-language": "zh-CN"}).text


# --- a directory -----------------------------------------------------------------------------------------------------


@pytest.fixture
def office(directory: Slapd, tmp_path: Path) -> Iterator[SimpleNamespace]:
    state = state_of(tmp_path / "data", ldap=directory.cfg())
    state.users.check_ready()
    with browser_of(state) as browser:
        yield SimpleNamespace(state=state, browser=browser, accounts=state.users.accounts, slapd=directory)


def type_in(browser: TestClient, name: str, password: str = PASSWORD) -> Any:
    return browser.post("/login", data={"name": name, "password": password})


def test_people_of_a_directory_log_in_by_the_form(office: SimpleNamespace) -> None:
    assert type_in(office.browser, "Ann ").status_code == 303
    assert me(office.browser) == "ann (admin)"
    assert (office.accounts.get("ann").source, office.accounts.get("ann").issuer) == (
        "ldap",
        "ou=people,dc=example,dc=com",
    )
    assert office.browser.post("/logout").headers["location"] == "/login"
    for name, password in (("ann", ""), ("ann", "wrong"), ("*", PASSWORD), ("a*", PASSWORD), ("ann)(uid=*", PASSWORD)):
        assert type_in(office.browser, name, password).status_code == 401
    assert [account.name for account in office.accounts.all()] == ["ann"]


def test_a_directorys_groups_count_anew_and_none_is_refused(office: SimpleNamespace) -> None:
    dn = office.slapd.person("gus", ADMINS)
    assert type_in(office.browser, "gus").status_code == 303
    office.slapd.change(ADMINS, member=("delete", [dn]))
    office.slapd.change(STAFF, member=("add", [dn]))
    assert type_in(office.browser, "gus").status_code == 303
    assert me(office.browser) == "gus (reader)"
    office.slapd.change(STAFF, member=("delete", [dn]))
    refused = type_in(office.browser, "gus")
    assert refused.status_code == 403
    assert "none of your groups" in refused.text
    assert me(office.browser) == ""


def test_a_password_of_this_app_and_one_of_the_directory_under_one_name_open_two_accounts(
    office: SimpleNamespace,
) -> None:
    office.accounts.add("ann", "reader", ["other"], "a password of this app")
    assert type_in(office.browser, "ann", "a password of this app").status_code == 303
    assert me(office.browser) == "ann (reader)"
    assert type_in(office.browser, "ann", PASSWORD).status_code == 303
    assert me(office.browser) == "ann@example.com (admin)"
    assert office.accounts.get("ann").bases == ("other",)


def test_guesses_at_the_directory_have_to_wait_too(office: SimpleNamespace) -> None:
    tried = [type_in(office.browser, "ann", f"guess {n}").status_code for n in range(7)]
    assert tried[:5] == [401] * 5
    assert tried[-1] == 429


def test_where_the_directory_is_away_passwords_of_this_app_work(directory: Slapd, tmp_path: Path) -> None:
    state = state_of(tmp_path, ldap=directory.cfg(url="ldap://127.0.0.1:9"))
    state.users.accounts.add("robin", "editor", None, PASSWORD)
    with browser_of(state) as browser:
        assert type_in(browser, "robin").status_code == 303
        away = type_in(browser, "ann")
        assert away.status_code == 503
        assert "cannot be asked at the moment" in away.text
