"""The app below a path of a site: through a proxy that takes the path off, and one that passes it on."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
from aiohttp import web
from playwright.sync_api import expect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.subpath import SubPath
from app.running.accounts import Accounts
from tests.app.app_process import App, chromium, running

PATH, PASSWORD = "/team/rag", "correct horse battery"


@contextmanager
def proxy(to: str, takes_off: bool) -> Iterator[str]:
    """A reverse proxy on loopback with the app below `PATH`, and nothing else; streams pass piece by piece."""
    loop = asyncio.new_event_loop()

    async def passed(request: web.Request) -> web.StreamResponse:
        if not request.raw_path.startswith(PATH):
            return web.Response(status=404)
        inner = request.raw_path.removeprefix(PATH) if takes_off else request.raw_path
        headers = {**request.headers, "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as client,
            client.request(
                request.method, to + inner, headers=headers, data=await request.read(), allow_redirects=False
            ) as found,
        ):
            kept = [
                (n, v) for n, v in found.headers.items() if n.lower() not in ("content-length", "transfer-encoding")
            ]
            answer = web.StreamResponse(status=found.status, headers=kept)  # type: ignore[arg-type]
            await answer.prepare(request)
            async for piece in found.content.iter_any():
                await answer.write(piece)
            return answer

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{rest:.*}", passed)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def end(runner: web.AppRunner) -> None:
        await runner.cleanup()
        streams = asyncio.all_tasks() - {asyncio.current_task()}  # of pages that are still open
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(serve(), loop).result(60)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(end(runner), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The UI with users below a path."""
    folder = tmp_path_factory.mktemp("subpath")
    shutil.copytree(handbook, folder / "data")
    Accounts(folder / "data").add("ann", "admin", ["handbook"], PASSWORD)
    env = {
        "RAGSTONE_APP__ROOT_PATH": f"{PATH}/", "RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive",
        "RAGSTONE_APP__HOSTS": "127.0.0.1",
    }  # fmt: skip
    with running("ui", folder / "data", folder / "ui.log", env) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("takes_off", [True, False], ids=["path taken off", "path passed on"])
def test_redirects_lead_to_places_below_the_path(app: App, takes_off: bool) -> None:
    with proxy(app.url, takes_off) as site, httpx.Client(base_url=site, timeout=60) as browser:
        html = {"accept": "text/html"}
        assert browser.get(f"{PATH}/", headers=html).headers["location"] == f"{PATH}/login"
        asked = browser.get(f"{PATH}/chats/1.md", headers=html)
        assert asked.headers["location"] == f"{PATH}/login?to=/chats/1.md"
        assert browser.get(asked.headers["location"]).status_code == 200
        form = {"name": "ann", "password": PASSWORD, "to": "/chats/1.md"}
        assert browser.post(f"{PATH}/login", data=form).headers["location"] == f"{PATH}/chats/1.md"
        assert browser.get(f"{PATH}/healthz").json()["status"] == "ok"
        assert browser.post(f"{PATH}/logout").headers["location"] == f"{PATH}/login"
        if not takes_off:
            assert browser.get(f"{PATH}?chat=7", headers=html).headers["location"] == f"{PATH}/?chat=7"


@pytest.mark.browser
@pytest.mark.parametrize("takes_off", [True, False], ids=["path taken off", "path passed on"])
def test_a_person_logs_in_asks_sees_the_page_and_logs_out_below_the_path(app: App, takes_off: bool) -> None:
    with proxy(app.url, takes_off) as site, chromium() as browser:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        asked: list[tuple[str, int]] = []
        page.on("response", lambda got: asked.append((got.url, got.status)))
        page.goto(f"{site}{PATH}/")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("#question textarea", timeout=60_000)
        page.fill("#question textarea", "How many days of annual leave are there?")
        page.press("#question textarea", "Enter")
        expect(page.locator("#chat [data-testid=bot]")).to_contain_text("[1]")
        expect(page.locator("#question .stop-button")).to_have_count(0)
        with page.expect_download() as taken:
            page.locator("a[download]").first.click()
        assert "annual leave" in Path(taken.value.path()).read_text("utf-8")
        page.get_by_role("button", name="Log out").or_(page.get_by_role("button", name="Sign out")).click()
        page.get_by_label("Password").wait_for()
        assert page.url == f"{site}{PATH}/login"
        context.close()
        lost = [(url, status) for url, status in asked if status >= 400 or not url.startswith(f"{site}{PATH}/")]
        assert lost == []


def test_a_cookie_of_the_app_is_sent_to_the_app_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = Response()
        response.set_cookie("ours", "a", httponly=True)
        response.set_cookie("narrow", "b", path="/login")
        await response(scope, receive, send)

    async def said() -> list[str]:
        transport = httpx.ASGITransport(SubPath(app, PATH))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get(f"{PATH}/")).headers.get_list("set-cookie")

    assert [value.split("Path=")[1].split(";")[0] for value in asyncio.run(said())] == [f"{PATH}/", "/login"]
