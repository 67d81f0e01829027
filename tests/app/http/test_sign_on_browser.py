"""A browser logs in at a provider and out again: the page as it is served, its headers, and real cookies."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.http.coming_back import DONE
from tests.app.app_process import chromium, running
from tests.app.office import PASSWORD, Idp, idp
from tests.fixtures_vllm import free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser]

CLIENT = {"id": "ragstone", "secret": "a secret of the tests"}
GROUPS = '{ staff = { role = "reader", kbs = ["handbook"] } }'


@pytest.fixture
def app(handbook: Path, tmp_path: Path) -> Iterator[tuple[str, Idp]]:
    """The page, and a provider whose address it was told before that was there."""
    shutil.copytree(handbook, tmp_path / "data")
    port = free_port()
    env = {
        "RAGSTONE_OIDC__ISSUER": f"http://127.0.0.1:{port}", "RAGSTONE_OIDC__CLIENT_ID": CLIENT["id"],
        "RAGSTONE_OIDC__CLIENT_SECRET": CLIENT["secret"], "RAGSTONE_OIDC__GROUPS": GROUPS,
        "RAGSTONE_OIDC__LABEL": "the office", "RAGSTONE_LLM__BACKEND": "extractive",
    }  # fmt: skip
    (tmp_path / "idp").mkdir()
    with running("ui", tmp_path / "data", tmp_path / "ui.log", env) as app:
        # localhost is another site than 127.0.0.1: cookies and Sec-Fetch-Site are as between two companies.
        url = app.url.replace("127.0.0.1", "localhost")
        with idp(tmp_path / "idp", [f"{url}{DONE}"], CLIENT, port) as there:
            there.people(bob=["staff"], carl=["others"])
            yield url, there


def test_in_by_the_button_and_out_at_both(app: tuple[str, Idp]) -> None:
    url, there = app
    with chromium() as browser:
        context = browser.new_context(locale="en-US")
        context.route("**/*", lambda route: route.continue_() if _near(route.request.url) else route.abort())
        page = context.new_page()
        for name, gets_in in (("carl", False), ("bob", True)):
            page.goto(f"{url}/?kb=handbook")
            assert page.url == f"{url}/login?to=/%3Fkb%3Dhandbook"
            page.get_by_role("link", name="Log in with the office").click()
            page.fill("#username", name)
            page.fill("#password", PASSWORD)
            page.get_by_role("button", name="Authorize").click()
            if not gets_in:
                expect(page.get_by_role("alert")).to_contain_text("none of your groups")
                context.clear_cookies()
        page.wait_for_selector("#question textarea", timeout=60_000)
        assert page.url.startswith(f"{url}/?kb=handbook")
        session = next(cookie for cookie in context.cookies() if cookie.get("name") == "ragstone_session")
        assert (session.get("httpOnly"), session.get("sameSite")) == (True, "Lax")
        assert not [cookie for cookie in context.cookies() if cookie.get("name") == "ragstone_oidc"]
        page.goto(f"{url}/logout")
        expect(page.locator("main")).to_contain_text("bob (reader)")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(lambda now: now.startswith((f"{there.issuer}/logout", f"{url}/login")))
        page.goto(f"{url}/logout")
        assert page.url.startswith(f"{url}/login")
        context.close()
    last = json.loads((there.folder.parent / "data" / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["who"], last["what"], last["on"]) == (f"oidc {there.issuer}", "user.add", "bob")


def _near(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "data:", "blob:"))
