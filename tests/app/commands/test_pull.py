"""`ragstone pull` as a person gives it, against a stand-in hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.commands.pull import fetching
from core.config import load
from core.errors import ModelError
from tests.llm.hub import COMMIT, REPO, StandIn, serving


@pytest.fixture
def hub(tiny_lm: Path) -> Iterator[StandIn]:
    with serving(tiny_lm) as stand_in:
        yield stand_in


def test_a_model_is_pulled_by_name_and_told_in_json(hub: StandIn, tmp_path: Path) -> None:
    settings = load(flags={"app.data": str(tmp_path)}, environ={})
    args = [REPO, "--from", hub.address, "--name", "mine", "--json"]
    done = CliRunner().invoke(fetching, args, obj=settings, catch_exceptions=False)
    told = json.loads(done.stdout)
    assert (told["folder"], told["revision"]) == (str(tmp_path / "models/mine"), COMMIT)
    assert told["fetched"] == told["bytes"] > 0
    again = CliRunner().invoke(fetching, [*args[:-1]], obj=settings, catch_exceptions=False)
    assert "it was there already" in again.stdout


def test_a_hubs_name_takes_the_mirror_and_token_of_the_environment(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_a-secret"
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    settings = load(flags={"app.data": str(tmp_path)}, environ={})
    with pytest.raises(ModelError, match="HF_TOKEN is not set"):
        CliRunner().invoke(fetching, [REPO], obj=settings, catch_exceptions=False)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    done = CliRunner().invoke(fetching, [REPO], obj=settings, catch_exceptions=False)
    assert done.exit_code == 0
    assert hub.token not in done.output
