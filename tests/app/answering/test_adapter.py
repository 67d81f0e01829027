"""The adapter of a knowledge base, chosen by `ragstone adapter` and used with its next question."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.answering.adapter import adapted, root_of
from app.answering.backend import EXTRACTIVE, Backend
from app.commands.adapter import adapting
from app.http.server import build
from app.running.bases import State
from core.config import Settings, load
from core.errors import ConfigError, ModelError
from llm import adapters
from llm.endpoint import Endpoint
from tests.app.stub_model import MODEL, serving


@pytest.fixture
def settings(handbook: Path, tiny_lm: Path, tmp_path: Path) -> Settings:
    data = tmp_path / "data"
    shutil.copytree(handbook, data)
    folder = data / "models/polite"
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": str(tiny_lm)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    flags = {"app.data": str(data), "llm.vllm_model": str(tiny_lm), "llm.vllm_lora_rank": 8}
    return load(flags=flags, environ={})


def told(settings: Settings, *args: str) -> dict[str, Any]:
    arguments = [*args, "--kb", "handbook", "--json"]
    return json.loads(CliRunner().invoke(adapting, arguments, obj=settings, catch_exceptions=False).stdout)


def test_an_adapter_is_chosen_shown_and_dropped(settings: Settings) -> None:
    assert told(settings)["adapter"] == ""
    assert told(settings, "polite") == {"kb": "handbook", "adapter": "polite", "before": ""}
    assert told(settings)["adapter"] == "polite"
    assert told(settings, "--none") == {"kb": "handbook", "adapter": "", "before": "polite"}
    assert told(settings)["adapter"] == ""


def test_what_does_not_fit_is_refused_and_changes_nothing(settings: Settings) -> None:
    told(settings, "polite")
    for name in ("../polite", "no-such"):
        with pytest.raises(ConfigError):
            told(settings, name)
    with pytest.raises(ConfigError, match="there is no knowledge base 'other'"):
        CliRunner().invoke(adapting, ["polite", "--kb", "other"], obj=settings, catch_exceptions=False)
    assert told(settings)["adapter"] == "polite"


def test_the_folder_of_adapters_can_be_another(settings: Settings, tmp_path: Path) -> None:
    cfg = settings.config
    assert root_of(cfg) == Path(cfg.app.data) / "models"
    assert root_of(cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"adapters": str(tmp_path)})})) == tmp_path


def test_each_knowledge_base_is_answered_by_its_own_adapter_over_http(settings: Settings) -> None:
    told(settings, "polite")
    data = Path(settings.config.app.data)
    shutil.copytree(data / "handbook", data / "plain")
    (data / "plain" / "adapter.json").unlink()
    with serving() as stub:
        port = urlsplit(stub.base_url).port
        keys = {"backend": "vllm", "vllm_port": port}
        llm = settings.config.llm.model_copy(update=keys)
        retrieval = settings.config.retrieval.model_copy(update={"variants": 0})
        config = settings.config.model_copy(update={"llm": llm, "retrieval": retrieval})

        def asked(client: TestClient, kb: str) -> tuple[str, str]:
            """The model that the server was asked for, and the one that the reply names."""
            messages = [{"role": "user", "content": "How many days of annual leave are there?"}]
            reply = client.post("/v1/chat/completions", json={"model": kb, "messages": messages})
            return adapters.name_of(stub.answers()[-1].body["model"]), reply.json()["ragstone"]["model"]

        with TestClient(build(State(replace(settings, config=config))), base_url="http://127.0.0.1") as client:
            assert asked(client, "handbook") == ("polite", "polite")
            [(loaded, folder)] = stub.adapters.items()
            assert (adapters.name_of(loaded), folder) == ("polite", str(data / "models/polite"))
            assert asked(client, "plain") == (MODEL, MODEL)
            told(settings, "--none")
            assert asked(client, "handbook") == (MODEL, MODEL)


def test_only_vllm_is_asked_for_an_adapter_and_a_failure_is_said(settings: Settings) -> None:
    told(settings, "polite")
    home = Path(settings.config.app.data) / "handbook"
    endpoint = Endpoint("http://127.0.0.1:9/v1", "tiny-lm", "")
    elsewhere = Backend("openai", "tiny-lm", endpoint)
    assert asyncio.run(adapted(elsewhere, settings.config, home)) == elsewhere
    assert asyncio.run(adapted(EXTRACTIVE, settings.config, home)) == EXTRACTIVE
    with pytest.raises(ModelError, match="does not answer"):
        asyncio.run(adapted(Backend("vllm", "tiny-lm", endpoint), settings.config, home))
