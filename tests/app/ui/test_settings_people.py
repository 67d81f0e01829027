"""What admins see of accounts and of how much is asked, and that nobody else does."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.running.accounts import Identity
from app.running.bases import State
from app.running.users import SESSION_COOKIE
from app.ui import settings_people
from core.config import AppConfig, Config, OidcConfig, Settings

ISSUER = "https://sso.example.com/realms/office"


@pytest.fixture
def state(tmp_path: Path) -> State:
    config = Config(app=AppConfig(data=str(tmp_path)), oidc=OidcConfig(issuer=ISSUER, client_id="x"))
    state = State(Settings(config, {}, None))
    accounts = state.users.accounts
    accounts.add("robin", "admin", None, None)
    who = Identity("oidc", ISSUER, "1")
    accounts.arrive(who, ["<b>ann"], "reader", ["handbook"], time.time() + 100)
    return state


def request_of(state: State, name: str, language: str = "en") -> Any:
    account = state.users.accounts.get(name)
    token = state.users.accounts.begin_session(account, 1)
    return SimpleNamespace(headers={"accept-language": language}, cookies={SESSION_COOKIE: token})


def test_accounts_are_listed_with_where_they_come_from(state: State) -> None:
    accounts = state.users.accounts
    accounts.add_key("robin")
    accounts.set_role("<b>ann", "editor")
    look = settings_people._accounts(state)
    shown = look(request_of(state, "robin"))
    assert "<b>" not in shown
    for cell in ("&lt;b&gt;ann", "editor (set by hand)", "handbook", f"oidc {ISSUER}", "this app", "all"):
        assert f">{cell}<" in shown
    accounts.close(Identity("oidc", ISSUER, "1"))
    assert f"oidc {ISSUER} (closed)" in look(request_of(state, "robin"))
    assert "本应用" in look(request_of(state, "robin", "zh"))


def test_usage_is_counts_by_name(state: State) -> None:
    account = state.users.accounts.get("robin")
    for _ in range(3):
        state.usage.count(account.id, "page", ["handbook"])
    shown = settings_people._usage(state)(request_of(state, "robin"))
    assert ">robin<" in shown
    assert ">handbook<" in shown
    assert shown.count(">3<") == 2


def test_only_admins_see_either(state: State) -> None:
    asked = request_of(state, "<b>ann")
    for look in (settings_people._accounts(state), settings_people._usage(state)):
        with pytest.raises(gr.Error):
            look(asked)
