"""A bucket on the Knowledge tab, by a real browser and a real S3 server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.app.app_process import Visit, running, visiting
from tests.app.stub_model import Stub
from tests.app.ui.knowledge_page import ended, enter_tab, make, told, unfold, write
from tests.s3 import S3, SECRET
from tests.s3 import running as s3_running

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def visit(
    server: S3, browser: Browser, model_server: Stub, handbook: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(handbook, folder / "data")
    env = {"RAGSTONE_LLM__BASE_URL": model_server.base_url} | server.environ
    with running("ui", folder / "data", folder / "ui.log", env) as app, visiting(browser, app.url) as seen:
        enter_tab(seen.page)
        yield seen
    assert SECRET not in (folder / "ui.log").read_text("utf-8")


def test_a_bucket_is_added_planned_applied_and_removed(server: S3, visit: Visit) -> None:
    server.bucket("menus")
    server.put("menus", "canteen/菜单.md", "# Canteen\n\nThe canteen serves noodles on Thursdays.\n")
    page = visit.page
    make(page, "canteen")
    unfold(page, "knowledge-manage")
    write(page, "knowledge-path", "s3://menus/nowhere")
    page.click("#knowledge-add")
    told(page, "nothing lies below")
    write(page, "knowledge-path", "s3://menus/canteen/")
    page.click("#knowledge-add")
    expect(page.locator("#knowledge-folders")).to_contain_text("s3://menus/canteen")
    expect(page.locator("#knowledge-folders")).to_contain_text("in a bucket")
    plan = ended(page, "#knowledge-plan")
    assert "1 added · 0 changed · 0 moved · 0 deleted · 0 unchanged" in plan
    assert "菜单.md" in plan
    assert "1 added" in ended(page, "#knowledge-apply")
    expect(page.locator("#knowledge-summary")).to_contain_text("1 documents")
    server.stop()
    assert "its server does not answer" in ended(page, "#knowledge-plan")
    visit.check()
