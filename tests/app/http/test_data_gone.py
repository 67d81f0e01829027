"""The data folder of an app goes away while it is used: that is said, nothing is made in its place, and it goes on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.running.accounts import Accounts
from tests.app.app_process import App, running

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
ENV = {"RAGSTONE_APP__USERS": "on", "RAGSTONE_LLM__BACKEND": "extractive"}


@pytest.fixture(scope="module")
def app(handbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("gone")
    shutil.copytree(handbook, folder / "data")
    Accounts(folder / "data").add("ann", "admin", None, PASSWORD)
    with running("ui", folder / "data", folder / "ui.log", ENV) as app:
        yield app


@pytest.mark.parametrize("mount_point", [False, True])
def test_an_app_without_its_data_folder_says_so_and_makes_none(app: App, mount_point: bool) -> None:
    away = app.data.with_name("away")
    form = {"name": "ann", "password": PASSWORD}
    with httpx.Client(base_url=app.url, timeout=60) as client:
        assert client.post("/login", data=form).headers["location"] == "/"
        assert client.get("/config").status_code == 200
        app.data.rename(away)
        if mount_point:
            app.data.mkdir()
        said = client.post("/login", data=form)
        assert said.status_code == 503
        assert "The accounts cannot be read" in said.text
        for path in ("/", "/config", "/v1/models", "/view/handbook/1.png", "/logout"):
            assert client.get(path).status_code == 503, path
        told = client.post("/v1/chat/completions", json={}, headers={"authorization": "Bearer rs-made-up"})
        assert "is not there" in told.json()["error"]["message"]
        assert client.get("/healthz").status_code == 503
        if mount_point:
            assert list(app.data.iterdir()) == []
            app.data.rmdir()
        assert not app.data.exists()
        away.rename(app.data)
        assert client.get("/config").status_code == 200  # still logged in
        assert client.get("/healthz").json() == {"status": "ok"}
