"""What settings mean, and which of them wait for the next start."""

import re
from pathlib import Path

import pytest

from app.messages.settings_help import changed, meanings, not_default
from core.config import load

NAMES = [name for name, _, _ in load(environ={}).rows()]


def test_every_setting_has_a_meaning_in_both_languages() -> None:
    assert [name for name in NAMES if not meanings("en").get(name)] == []
    assert list(meanings("zh")) == NAMES
    assert [name for name, text in meanings("zh").items() if not re.search(r"[\u4e00-\u9fff]|auto、", text)] == []


def test_keys_below_one_comment_share_it() -> None:
    said = meanings("en")
    assert said["llm.vllm_host"] == said["llm.vllm_port"] == "Address and port vLLM listens on."
    assert said["ingest.archive_mb"] == said["ingest.archive_files"]
    assert said["llm.top_k"].startswith("How many of the likeliest words are drawn from")
    assert said["app.data"] == "Folder of the knowledge bases, uploads and logs. RAGSTONE_DATA overrides it."


def test_a_value_that_the_file_lists_as_by_default_is_no_own_value(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[app]\ndata = "data"\nport = 7860\n[llm]\ntop_k = 3\nvllm_env = "/elsewhere"\n')
    settings = load(file, flags={"llm.api_key": "secret"}, environ={})
    assert not_default(settings) == {"llm.top_k", "llm.vllm_env", "llm.api_key"}


def test_what_the_file_says_by_now_is_told_but_not_what_a_flag_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGSTONE_CONFIG", raising=False)
    file = tmp_path / "config.toml"
    file.write_text('[llm]\ntop_k = 1\nmodel = "a"\n')
    settings = load(file, flags={"llm.top_k": 2})
    assert changed(settings) == {}
    file.write_text('[llm]\ntop_k = 3\nmodel = "b"\napi_key = "secret"\n')
    assert changed(settings) == {"llm.model": "b", "llm.api_key": "***"}
