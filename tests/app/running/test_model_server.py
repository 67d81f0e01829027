"""Which model a start of the model server would serve, and what it says where there is none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.answering.backend import with_promoted
from app.running import model_server
from app.running.bases import State
from core.config import Settings, load
from core.errors import ConfigError
from llm import registry


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """The settings as an app has them; arguments are keys of [llm]."""

    def make(**keys: object) -> Settings:
        flags = {"app.data": str(tmp_path)} | {f"llm.{key}": value for key, value in keys.items()}
        return with_promoted(load(flags=flags, environ={}))

    for name in ("one", "two"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"kind": "fetched"}))
    return make


def test_what_is_promoted_at_the_time_of_the_start_is_served(settings: Callable[..., Settings], tmp_path: Path) -> None:
    registry.promote(tmp_path, "one")
    began = settings()
    assert model_server.startable(began) == str(tmp_path / "models/one")
    registry.promote(tmp_path, "two")
    assert model_server.startable(began) == str(tmp_path / "models/two")
    registry.roll_back(tmp_path)
    registry.roll_back(tmp_path)
    assert model_server.startable(began) == ""
    registry.promote(tmp_path, "two")
    assert model_server.startable(settings(vllm_model="/other")) == "/other"


def test_where_no_model_is_to_be_served_a_start_says_so(settings: Callable[..., Settings], tmp_path: Path) -> None:
    for told in (settings(), settings(vllm_model="/other", backend="openai")):
        state = State(told)
        with pytest.raises(ConfigError, match="no model to serve"):
            model_server.start(state, lambda _: None)
        assert state.vllm is None
        model_server.stop(state)
        assert state.vllm_status == ""
        assert model_server.log_tail(state, 5) == ""
