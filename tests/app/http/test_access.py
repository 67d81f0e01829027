"""Who gets in, over real HTTP: `ragstone ui` with users, `ragstone serve` without, and a browser that logs in."""

from __future__ import annotations

import http.client
import json
import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.running.accounts import Accounts
from tests.app.app_process import App, chromium, command, environment, running
from tests.needs import later

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam
else:
    openai = later("openai")

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
MEBI = 2**20
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Up to what turbidity does it measure?"}]
PAGE = {"accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI with users, over a copy of the handbook."""
    folder = tmp_path_factory.mktemp("access")
    shutil.copytree(handbook, folder / "data")
    accounts = Accounts(folder / "data")
    accounts.add("ann", "admin", None, PASSWORD)
    accounts.add("bob", "reader", ["handbook"], PASSWORD)
    accounts.add("carl", "reader", ["other"], None)
    env = {
        "RAGSTONE_APP__USERS": "on", "RAGSTONE_APP__ANSWERS_PER_MINUTE": "4", "RAGSTONE_APP__MAX_UPLOAD_MB": "1",
        "RAGSTONE_APP__PENDING_UPLOADS_MB": "50",
        "RAGSTONE_LLM__BACKEND": "extractive",
    }  # fmt: skip
    with running("ui", folder / "data", folder / "ui.log", env) as app:
        yield app


@pytest.fixture(scope="module")
def alone(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The API without users."""
    log = tmp_path_factory.mktemp("alone") / "serve.log"
    with running("serve", handbook, log, {"RAGSTONE_LLM__BACKEND": "extractive"}) as app:
        yield app


@pytest.fixture
def accounts(app: App) -> Accounts:
    return Accounts(app.data)


@pytest.fixture
def browser(app: App) -> Iterator[httpx.Client]:
    """Keeps cookies, follows no redirect."""
    with httpx.Client(base_url=app.url, timeout=60) as client:
        yield client


def login(client: httpx.Client, name: str = "ann", password: str = PASSWORD, **headers: str) -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password}, headers=headers)


def bearer(accounts: Accounts, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {accounts.add_key(name)}"}


def api(app: App, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{app.url}/v1", api_key=key, max_retries=0, timeout=60)


def is_error(response: httpx.Response, status: int) -> bool:
    """Whether a refusal has OpenAI's form."""
    error = response.json()["error"]
    return response.status_code == status and bool(error["message"]) and {"type", "param", "code"} <= set(error)


def test_a_browser_is_sent_to_the_login_page_and_a_program_is_told(app: App, browser: httpx.Client) -> None:
    page = browser.get("/", headers=PAGE)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    told = browser.get("/v1/models")
    assert is_error(told, 401)
    assert told.headers["www-authenticate"] == "Bearer"
    with pytest.raises(openai.AuthenticationError):
        api(app, "rs-made-up").models.list()
    assert browser.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"), ("GET", "/gradio_api/info"), ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data?session_hash=x"), ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/file=x"),
        ("GET", "/theme.css"), ("POST", "/login/"), ("GET", "/login/../config"), ("POST", "/gradio_api/cancel"),
        ("GET", "/metrics"), ("POST", "/mcp"), ("GET", "/view/handbook/1.png"), ("HEAD", "/"),
        ("OPTIONS", "/v1/models"), ("GET", "//login"), ("GET", "/healthz/"), ("POST", "/healthz"), ("PUT", "/login"),
        ("TRACE", "/login"), ("POST", "/login/oidc"),
    ],
)  # fmt: skip
def test_nothing_but_login_and_health_is_open(app: App, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)  # sends the path as it is
    connection.request(method, path)
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize("path", ["/login/oidc", "/login/oidc/done"])
def test_a_way_to_log_in_that_is_not_set_up_is_not_there(app: App, path: str) -> None:
    assert is_error(httpx.get(f"{app.url}{path}"), 404)


@pytest.mark.parametrize("host", ["x/login?", "x/healthz#", "x/login?:80", "127.0.0.1/login?"])
def test_a_host_header_that_holds_a_path_opens_nothing(app: App, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
    connection.request("GET", "/config", headers={"host": host})
    assert connection.getresponse().status in (400, 401)
    connection.close()


def test_a_session_opens_the_page_and_ends_with_logout(browser: httpx.Client) -> None:
    done = login(browser)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=604800" in cookie
    assert "secure" not in cookie
    token = browser.cookies["ragstone_session"]
    assert "gradio" in browser.get("/", headers=PAGE).text
    assert browser.get("/config").status_code == 200
    assert "ann" in browser.get("/logout").text
    assert browser.post("/logout").headers["location"] == "/login"
    assert "ragstone_session" not in browser.cookies
    assert browser.get("/config", headers={"cookie": f"ragstone_session={token}"}).status_code == 401


def test_a_link_into_the_app_leads_there_after_the_login_and_nowhere_else(browser: httpx.Client) -> None:
    asked = browser.get("/?chat=a%26b", headers=PAGE)
    assert asked.headers["location"] == "/login?to=/%3Fchat%3Da%2526b"
    page = browser.get(asked.headers["location"]).text
    assert 'name="to" value="/?chat=a%26b"' in page
    for to, led in (
        ("/?chat=a%26b", "/?chat=a%26b"), ("//evil.example", "/"), ("/\\evil.example", "/"),
        ("https://evil.example", "/"), ("/\n//evil.example", "/"), ("", "/"),
    ):  # fmt: skip
        done = browser.post("/login", data={"name": "ann", "password": PASSWORD, "to": to})
        assert done.headers["location"] == led


def test_behind_a_proxy_that_speaks_https_the_cookie_is_secure(browser: httpx.Client) -> None:
    assert "secure" in login(browser, **{"x-forwarded-proto": "https"}).headers["set-cookie"].lower()


def test_a_wrong_password_and_an_unknown_name_are_told_alike(browser: httpx.Client) -> None:
    pages = [login(browser, name, "a wrong password") for name in ("bob", "nob", "carl")]
    assert {page.status_code for page in pages} == {401}
    assert len({page.text.replace(n, "") for page, n in zip(pages, ("bob", "nob", "carl"), strict=True)}) == 1
    assert "Name or password is wrong" in pages[0].text
    assert "ragstone_session" not in browser.cookies


def test_what_was_typed_is_shown_as_text(browser: httpx.Client) -> None:
    page = login(browser, '"><script>x</script>', "a wrong password")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "no-store" in page.headers["cache-control"]


def test_guessing_is_slowed_down(browser: httpx.Client) -> None:
    guesses = [login(browser, "target", f"guess number {i}") for i in range(5)]
    assert [guess.status_code for guess in guesses] == [401] * 5
    guesses += [login(browser, "TARGET") for _ in range(7)]  # the sixth waits 1 s, the next 2 s, 4 s, ...
    slow = next(guess for guess in guesses if guess.status_code == 429)
    assert 1 <= int(slow.headers["retry-after"]) <= 60
    assert "Too many attempts" in slow.text


def test_the_login_page_speaks_chinese_where_asked(browser: httpx.Client) -> None:
    chinese = browser.get("/login", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert "密码" in chinese.text
    assert '<html lang="zh-CN">' in chinese.text
    browser.cookies.set("ragstone_language", "en")
    assert "Password" in browser.get("/login", headers={"accept-language": "zh-CN"}).text
    assert "<script" not in chinese.text


def test_a_password_changed_by_the_command_line_ends_the_session_at_once(
    app: App, browser: httpx.Client, accounts: Accounts
) -> None:
    accounts.add("dora", "editor", None, PASSWORD)
    login(browser, "dora")
    assert browser.get("/v1/models").status_code == 200
    args = command("user", "password", "dora", "--password-stdin")
    subprocess.run(args, env=environment(app.data), input=b"another password\n", check=True, timeout=60)
    assert browser.get("/v1/models").status_code == 401


def test_people_change_their_own_password_and_are_logged_out_elsewhere(
    app: App, browser: httpx.Client, accounts: Accounts
) -> None:
    accounts.add("emma", "reader", None, PASSWORD)
    login(browser, "emma")
    assert 'autocomplete="new-password"' in browser.get("/password").text
    new = "a quite different one"
    wrong = browser.post("/password", data={"password": "not mine at all", "new": new})
    assert (wrong.status_code, "The password is wrong" in wrong.text) == (401, True)
    short = browser.post("/password", data={"password": PASSWORD, "new": "emma"})
    assert (short.status_code, "and not the name" in short.text) == (400, True)
    with httpx.Client(base_url=app.url) as elsewhere:
        login(elsewhere, "emma")
        assert elsewhere.get("/v1/models").status_code == 200
        done = browser.post("/password", data={"password": PASSWORD, "new": new})
        assert (done.status_code, done.headers["location"]) == (303, "/")
        assert browser.get("/v1/models").status_code == 200
        assert elsewhere.get("/v1/models").status_code == 401
        assert elsewhere.get("/password").status_code == 401
    assert login(browser, "emma").status_code == 401
    assert login(browser, "emma", new).status_code == 303


def test_a_key_opens_the_api_to_what_its_user_sees(app: App, accounts: Accounts) -> None:
    bob, carl = (api(app, accounts.add_key(name)) for name in ("bob", "carl"))
    assert [model.id for model in bob.models.list()] == ["handbook"]
    assert bob.models.retrieve("handbook").id == "handbook"
    assert bob.chat.completions.create(model="handbook", messages=MESSAGES).choices[0].message.content
    assert list(carl.models.list()) == []
    told = []
    for name in ("handbook", "absent99"):
        with pytest.raises(openai.NotFoundError) as caught:
            carl.chat.completions.create(model=name, messages=MESSAGES)
        told.append((str(caught.value).replace(name, ""), caught.value.code))
    assert told[0] == told[1]
    assert told[0][1] == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        carl.models.retrieve("handbook")
    picture = httpx.get(f"{app.url}/view/handbook/1.png", headers=bearer(accounts, "carl"))
    assert picture.status_code == 403


def test_a_revoked_key_opens_nothing(app: App, accounts: Accounts) -> None:
    key = accounts.add_key("bob")
    assert list(api(app, key).models.list())
    accounts.revoke_key("bob", key[:8])
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        api(app, key).models.list()


def test_too_many_questions_in_a_minute_are_refused_until_later(app: App, accounts: Accounts) -> None:
    accounts.add("eager", "reader", None, None)
    clients = [api(app, accounts.add_key("eager")) for _ in range(2)]  # two keys are the same user

    def ask(client: openai.OpenAI, stream: bool) -> None:
        answer = client.chat.completions.create(model="handbook", messages=MESSAGES, stream=stream)
        assert list(answer) if stream else answer

    with ThreadPoolExecutor(8) as pool:  # at once: one after the other, the allowance of a slow machine flows back
        asked = [pool.submit(ask, client, stream) for client in clients for stream in (False, True) * 2]
    refused = [error for error in (each.exception() for each in asked) if error]
    assert 1 <= len(refused) <= 4
    for error in refused:
        assert isinstance(error, openai.RateLimitError)
        assert 1 <= int(error.response.headers["retry-after"]) <= 15
        assert error.code == "rate_limit_exceeded"
    assert [model.id for model in clients[0].models.list()] == ["handbook"]


def test_of_too_many_questions_on_the_page_nothing_is_kept(app: App, accounts: Accounts) -> None:
    accounts.add("hasty", "reader", None, None)
    with httpx.Client(base_url=app.url, timeout=60, headers=bearer(accounts, "hasty")) as client:
        config = client.get("/config").json()
        box = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "question")
        event = next(one["id"] for one in config["dependencies"] if [box, "submit"] in one["targets"])
        data: list[Any] = ["", None, [], False]
        body = {"fn_index": event, "event_data": None, "session_hash": uuid.uuid4().hex}
        asked = [f"marker question {number}" for number in range(8)]
        for question in asked:
            data[0] = question
            assert client.post("/gradio_api/queue/join", json=body | {"data": data}).status_code == 200
        ended: list[dict[str, Any]] = []
        with client.stream("GET", f"/gradio_api/queue/data?session_hash={body['session_hash']}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: ") and "process_completed" in line:
                    ended.append(json.loads(line.removeprefix("data: ")))
                if len(ended) == len(asked):
                    break
    refused = [one["output"]["error"] for one in ended if not one["success"]]
    assert refused
    assert all("questions in a minute" in error for error in refused)
    with closing(sqlite3.connect(app.data / "chats.sqlite")) as db:
        sql = "SELECT count(*) FROM messages WHERE role = 'user' AND text LIKE 'marker question%'"
        assert db.execute(sql).fetchone() == (len(asked) - len(refused),)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:1"},
    ],
)  # fmt: skip
def test_another_sites_page_changes_nothing(browser: httpx.Client, headers: dict[str, str]) -> None:
    assert login(browser, **headers).status_code == 403
    login(browser)
    for path in ("/logout", "/gradio_api/queue/join", "/v1/chat/completions"):
        assert is_error(browser.post(path, json={}, headers=headers), 403)
    assert browser.get("/v1/models").status_code == 200


def test_a_link_from_another_site_opens_the_page_and_a_frame_or_picture_does_not(browser: httpx.Client) -> None:
    login(browser)
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert browser.get("/", headers=PAGE | link).status_code == 200
    for how in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}):
        assert browser.get("/logout", headers=link | how).status_code == 403


def test_what_the_page_itself_sends_is_let_through(app: App, browser: httpx.Client) -> None:
    assert login(browser, origin=app.url).status_code == 303
    assert login(browser, **{"sec-fetch-site": "same-origin", "origin": "null"}).status_code == 303


def test_a_body_that_is_too_large_is_refused_before_it_is_read(app: App, accounts: Accounts) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
    connection.putrequest("POST", "/v1/chat/completions")
    for name, value in (bearer(accounts, "ann") | {"content-length": str(2**40)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()  # nothing of the body was sent
    assert response.status == 413
    assert "10 MiB" in json.loads(response.read())["error"]["message"]
    connection.close()


@pytest.mark.parametrize("path", ["/login", "/password"])
def test_a_form_is_short(app: App, accounts: Accounts, path: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"} | bearer(accounts, "ann")
    response = httpx.post(f"{app.url}{path}", content=b"&" * 20_000, headers=form)
    assert is_error(response, 413)
    assert "16 KiB" in response.json()["error"]["message"]


def test_a_conversation_and_a_filter_have_bounds(app: App, accounts: Accounts) -> None:
    def asked(count: int, **more: object) -> httpx.Response:
        body = {"model": "handbook", "messages": [{"role": "user", "content": "a"}] * count} | more
        return httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=bearer(accounts, "ann"))

    assert is_error(asked(2001), 400)
    assert is_error(asked(1, ragstone={"filter": {"paths": ["a"] * 201}}), 400)
    assert is_error(asked(1, ragstone={"filter": {"paths": ["a" * 1001]}}), 400)


def test_a_body_of_unknown_length_is_cut_off_where_it_gets_too_large(app: App, accounts: Accounts) -> None:
    pieces = (b" " * MEBI for _ in range(12))
    response = httpx.post(f"{app.url}/v1/chat/completions", content=pieces, headers=bearer(accounts, "ann"), timeout=60)
    assert is_error(response, 413)


def test_an_event_of_the_page_and_a_question_are_what_people_type(app: App, accounts: Accounts) -> None:
    event = httpx.post(f"{app.url}/gradio_api/queue/join", content=b" " * (MEBI + 1), headers=bearer(accounts, "ann"))
    assert is_error(event, 413)
    body = {"model": "handbook", "messages": [{"role": "user", "content": "a" * 8001}]}
    asked = httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=bearer(accounts, "ann"))
    assert is_error(asked, 400)
    assert "8000 characters" in asked.json()["error"]["message"]


def test_a_file_that_is_too_large_is_refused_and_several_small_ones_are_not(app: App, accounts: Accounts) -> None:
    def upload(*sizes: int) -> httpx.Response:
        files = [("files", (f"{i}.txt", b"x" * size)) for i, size in enumerate(sizes)]
        return httpx.post(f"{app.url}/gradio_api/upload", files=files, headers=bearer(accounts, "ann"), timeout=60)

    assert upload(2 * MEBI).status_code == 413
    assert upload(MEBI // 2, MEBI // 2, MEBI // 2).status_code == 200
    assert upload(*[MEBI] * 51).status_code == 413


def test_metrics_count_and_name_only_what_may_be_seen(app: App, accounts: Accounts) -> None:
    asked = {name: httpx.get(f"{app.url}/metrics", headers=bearer(accounts, name)).text for name in ("bob", "carl")}
    assert 'ragstone_http_requests_total{method="GET",route="/healthz",status="200"}' in asked["bob"]
    assert 'ragstone_chunks{kb="handbook"}' in asked["bob"]
    assert "handbook" not in asked["carl"]
    assert "ragstone_answers_running" in asked["bob"]


def test_without_users_only_this_machines_names_are_answered(alone: App) -> None:
    def status(**headers: str) -> int:
        return httpx.get(f"{alone.url}/v1/models", headers=headers).status_code

    assert [status(host=host) for host in ("localhost", f"127.0.0.1:{alone.port}", "[::1]:1", "LOCALHOST.")] == [
        200
    ] * 4
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "192.168.0.9", "", "[", "@"):
        assert status(host=host) in (400, 421), host


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host"])
def test_without_users_nobody_comes_through_a_proxy(alone: App, name: str) -> None:
    response = httpx.get(f"{alone.url}/v1/models", headers={name: "10.0.0.7"})
    assert is_error(response, 403)
    assert "app.hosts" in response.json()["error"]["message"]


def test_without_users_another_sites_page_reads_and_changes_nothing(alone: App) -> None:
    for headers in ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, {"origin": "http://evil.example"}):
        asked: dict[str, Any] = {"model": "handbook", "messages": MESSAGES}
        assert is_error(httpx.post(f"{alone.url}/v1/chat/completions", json=asked, headers=headers), 403)
        assert is_error(httpx.get(f"{alone.url}/v1/models", headers=headers), 403)
    assert httpx.get(f"{alone.url}/login").status_code == 303


def test_unknown_paths_and_methods_of_the_api_have_its_form(alone: App) -> None:
    assert is_error(httpx.get(f"{alone.url}/v1/embeddings"), 404)
    assert is_error(httpx.get(f"{alone.url}/v1/chat/completions"), 404)
    assert is_error(httpx.delete(f"{alone.url}/v1/models/handbook"), 404)


@pytest.mark.parametrize(
    ("surface", "setting"), [("serve", {"RAGSTONE_APP__HOST": "0.0.0.0"}), ("ui", {"RAGSTONE_APP__USERS": "on"})]
)
def test_it_does_not_open_to_others_without_a_user(surface: str, setting: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        command(surface), env=environment(tmp_path, setting), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "ragstone user add NAME --role admin" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.browser
def test_a_person_logs_in_asks_and_logs_out(app: App, accounts: Accounts) -> None:
    accounts.add("eva", "reader", ["handbook"], PASSWORD)
    with chromium() as found:
        page = found.new_page(locale="en-US")
        page.goto(app.url)
        page.get_by_label("Name").fill("eva")
        page.get_by_label("Password").fill("not the password")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert page.get_by_label("Name").input_value() == "eva"
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("#question textarea", timeout=60_000)
        page.goto(f"{app.url}/logout")
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Password").wait_for()
        page.goto(app.url)
        assert page.url.endswith("/login")
