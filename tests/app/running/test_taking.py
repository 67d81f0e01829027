"""Settings that are taken up at once: in the file, in effect, and nothing of them where one cannot be."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.running.bases import State
from app.running.taking import answer_by_folder, answer_by_server, take, write_apart
from core.config import load, secrets_of
from core.errors import ConfigError

Make = Callable[..., State]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "config.toml"
    made.write_text("# ours\n[retrieval]\nk = 8  # passages\n", "utf-8")
    return made


@pytest.fixture
def make(file: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.delenv("RAGSTONE_RETRIEVAL__EMBEDDER", raising=False)

    def made(**flags: Any) -> State:
        return State(load(file, {"app.data": str(file.parent / "data")} | flags))

    return made


def written(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text("utf-8"))


def test_what_is_taken_up_is_in_the_file_and_in_effect(make: Make, file: Path) -> None:
    state = make()
    before = state.bases.embedder
    assert take(state, {"retrieval.k": 5, "retrieval.embedder": "english"}) == file
    assert (state.cfg.retrieval.k, state.bases.cfg.retrieval.k) == (5, 5)
    assert (before.chosen, state.bases.embedder.chosen) == ("multilingual", "builtin")
    assert state.settings.origins["retrieval.k"] == str(file)
    assert file.read_text("utf-8").startswith("# ours\n[retrieval]\nk = 5  # passages\n")
    assert take(state, {"retrieval.k": 5}) is None


def test_what_else_changed_in_the_file_waits_for_the_next_start(make: Make, file: Path) -> None:
    state = make()
    file.write_text("[retrieval]\nk = 8\ncandidates = 7\n", "utf-8")
    take(state, {"retrieval.k": 5})
    assert (state.cfg.retrieval.k, state.cfg.retrieval.candidates) == (5, 200)


@pytest.mark.parametrize(
    ("flags", "variable", "why"),
    [
        ({"llm.model": "fixed"}, "", "on the command line"),
        ({}, "RAGSTONE_LLM__MODEL", "environment variable RAGSTONE_LLM__MODEL"),
    ],
    ids=["flag", "environment"],
)
def test_what_comes_before_the_file_is_told_and_nothing_is_written(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], variable: str, why: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, "fixed")
    state, before = make(**flags), file.read_text("utf-8")
    with pytest.raises(ConfigError, match=why):
        answer_by_server(state, "http://127.0.0.1:1/v1", "other", "key")
    assert file.read_text("utf-8") == before
    assert not secrets_of(file).exists()
    assert state.cfg.llm.base_url == ""


def test_a_value_that_is_not_allowed_is_not_written(make: Make, file: Path) -> None:
    state, before = make(), file.read_text("utf-8")
    with pytest.raises(ConfigError, match=r"retrieval\.k"):
        take(state, {"llm.model": "one", "retrieval.k": 0})
    assert file.read_text("utf-8") == before


def test_the_key_of_one_server_is_never_shown_to_another(make: Make, file: Path) -> None:
    state = make()
    answer_by_server(state, "https://one.example/v1", "m", "secret")
    assert written(secrets_of(file)) == {"llm": {"api_key": "secret"}}
    assert "secret" not in file.read_text("utf-8")
    answer_by_server(state, "https://one.example/v1", "n", "")
    assert (state.cfg.llm.api_key, state.cfg.llm.model) == ("secret", "n")
    answer_by_server(state, "http://127.0.0.1:11434/v1", "qwen", "")
    assert (state.cfg.llm.api_key, written(secrets_of(file))) == ("", {"llm": {"api_key": ""}})


_KEYS = '[llm]\napi_key = "KEY"\nbase_url = "https://one.example/v1"\n[retrieval]\nrerank_key = "KEY"\n'


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("llm.base_url", "https://two.example/v1", "llm.api_key"),
        ("llm.base_url", "http://one.example/v1", "llm.api_key"),  # in the clear
        ("llm.base_url", "https://one.example:444/v1", "llm.api_key"),
        ("llm.base_url", "https://one.example@two.example/v1", "llm.api_key"),
        ("llm.base_urls", ["https://one.example/v1", "https://two.example/v1"], "llm.api_key"),
        ("llm.ab_base_url", "https://two.example/v1", "llm.api_key"),
        ("retrieval.rerank_url", "https://one.example/v1", "retrieval.rerank_key"),
    ],
)
def test_an_address_of_another_server_empties_the_key_that_it_would_be_shown(
    make: Make, file: Path, name: str, value: Any, key: str
) -> None:
    file.write_text(_KEYS, "utf-8")
    assert write_apart(make().settings, name, value) == (file, key)
    after = load(file).config
    section, plain = name.split(".")
    assert getattr(getattr(after, section), plain) == value
    assert {"llm.api_key": after.llm.api_key, "retrieval.rerank_key": after.retrieval.rerank_key} == {
        "llm.api_key": "KEY", "retrieval.rerank_key": "KEY"
    } | {key: ""}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("llm.base_url", "https://ONE.example:443/other"), ("llm.base_url", ""), ("retrieval.k", 5),
        ("llm.base_urls", ["https://one.example/v2"]), ("llm.ab_base_url", "https://one.example/v1"),
    ],
)  # fmt: skip
def test_one_of_the_same_server_leaves_it(make: Make, file: Path, name: str, value: Any) -> None:
    file.write_text(_KEYS, "utf-8")
    assert write_apart(make().settings, name, value) == (file, "")
    assert (load(file).config.llm.api_key, secrets_of(file).exists()) == ("KEY", False)


def test_an_address_that_was_emptied_meanwhile_brings_no_other_the_key(make: Make, file: Path) -> None:
    file.write_text(_KEYS, "utf-8")
    settings = make().settings  # as the app was started
    assert write_apart(settings, "llm.base_url", "")[1] == ""
    assert write_apart(settings, "llm.base_url", "https://two.example/v1")[1] == "llm.api_key"


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_key_that_cannot_be_emptied_keeps_the_address(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    before = file.read_text("utf-8")
    if by == "variable":
        monkeypatch.setenv("RAGSTONE_LLM__API_KEY", "KEY")
    state = make(**({"llm.api_key": "KEY"} if by == "flag" else {}))
    with pytest.raises(ConfigError, match=r"llm\.api_key would be shown to another server"):
        write_apart(state.settings, "llm.base_url", "https://two.example/v1")
    assert (file.read_text("utf-8"), secrets_of(file).exists()) == (before, False)


@pytest.mark.parametrize(
    ("flags", "server", "folder"),
    [
        ({}, "auto", "auto"), ({"llm.backend": "extractive"}, "auto", "auto"),
        ({"llm.backend": "vllm"}, "auto", "vllm"), ({"llm.chat": "langchain:a.b:C"}, "openai", "vllm"),
    ],
    ids=["auto", "extractive", "vllm", "chat"],
)  # fmt: skip
def test_whoever_is_chosen_answers_whatever_answered_before(
    make: Make, file: Path, flags: dict[str, Any], server: str, folder: str
) -> None:
    chat = {name: value for name, value in flags.items() if name == "llm.chat"}
    backend = flags.get("llm.backend", "auto")
    file.write_text(f'[llm]\nbackend = "{backend}"\n', "utf-8")
    state = make(**chat)
    answer_by_server(state, "http://127.0.0.1:11434/v1", "qwen", "")
    assert state.cfg.llm.backend == server
    file.write_text(f'[llm]\nbackend = "{backend}"\nbase_url = "http://127.0.0.1:1/v1"\n', "utf-8")
    state = make(**chat)
    answer_by_folder(state, "/models/qwen")
    assert (state.cfg.llm.vllm_model, state.cfg.llm.base_url, state.cfg.llm.backend) == ("/models/qwen", "", folder)
