import sys
from pathlib import Path

import pytest

from core import plugins
from core.config import load
from core.errors import ConfigError, ModelError


class Thing:
    """What settings name in these tests."""

    def __init__(self, key: str = "", size: int = 1) -> None:
        if size < 0:
            raise ValueError(f"no size for {key}")
        self.key, self.size = key, size

    def work(self) -> None:
        raise RuntimeError(f"the server refuses {self.key}")


NAMED = f"langchain:{__name__}:Thing"


def test_a_secret_is_read_from_the_environment_and_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-very-secret")
    made = plugins.make("embedders", NAMED, {"key": {"env": "ACME_KEY"}, "size": 2}, "work")
    assert (made.what.key, made.what.size) == ("sk-very-secret", 2)
    with (
        pytest.raises(ModelError, match=r"test_plugins:Thing failed: RuntimeError: the server refuses \*\*\*\n"),
        made.guarded(),
    ):
        made.what.work()
    with pytest.raises(ConfigError, match=r"cannot be used: ValueError: no size for \*\*\*"):
        plugins.make("embedders", NAMED, {"key": {"env": "ACME_KEY"}, "size": -1}, "work")
    with pytest.raises(ConfigError, match="environment variable ACME_NONE is not set"):
        plugins.make("embedders", NAMED, {"key": {"env": "ACME_NONE"}}, "work")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("langchain:no_such_package.module:Class", "cannot be used: ModuleNotFoundError"),
        (f"langchain:{__name__}:Nothing", "cannot be used: AttributeError"),
        ("langchain:os.path", "names no class"),
        ("langchain:__import__('os'):system", "names no class"),
        ("plugin:nobody", "'plugin:nobody' is not installed"),
        ("BAAI/bge-m3", "names no plug-in"),
    ],
)
def test_what_cannot_be_had_is_one_message(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        plugins.make("embedders", name, {}, "work")
    assert said in error.value.message
    assert error.value.hint


def test_what_lacks_the_method_is_told() -> None:
    with pytest.raises(ConfigError, match="Thing has no method 'embed_documents'"):
        plugins.make("embedders", NAMED, {}, "embed_documents")


def test_two_packages_with_a_plug_in_of_one_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one", "other"):
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[ragstone.rerankers]\nsame = nothing:Nothing\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    plugins._entries.cache_clear()
    try:
        with pytest.raises(
            ConfigError, match=r"several packages have a plug-in 'same' of ragstone\.rerankers: one, other"
        ):
            plugins.make("rerankers", "plugin:same", {}, "scores")
        assert str(plugins.installed("rerankers")[0]) == "plug-in 'same' of one 1"
    finally:
        plugins._entries.cache_clear()


def test_the_name_of_a_reader_is_a_suffix_with_or_without_dot_and_capitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[ragstone.readers]\n.wy = {__name__}:Thing\nO10 = {__name__}:Thing\n[ragstone.rerankers]\nBig = x:X\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    plugins._entries.cache_clear()
    try:
        assert {"wy", "o10"} <= {each.name for each in plugins.installed("readers")}
        assert {"wy", ".WY"} == {name for name in ("wy", ".WY") if plugins.found("readers", name)}
        assert plugins.make("readers", "plugin:O10", {}, "work").name == "plug-in 'o10' of acme 1"
        assert plugins.found("rerankers", "Big")
        assert not plugins.found("rerankers", "big")
    finally:
        plugins._entries.cache_clear()


def test_tables_of_settings_come_from_the_file_and_the_environment_and_keys_in_them_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[retrieval]\nembedder_settings = { model = "m", api_key = "sk-1", max_tokens = 5 }\n')
    environ = {"RAGSTONE_INGEST__READERS": '{ ".xyz" = "plugin:xyz" }'}
    settings = load(file, environ=environ)
    assert settings.config.retrieval.embedder_settings["api_key"] == "sk-1"
    assert settings.config.ingest.readers == {".xyz": "plugin:xyz"}
    rows = {name: value for name, value, _ in settings.rows()}
    assert rows["retrieval.embedder_settings"] == {"model": "m", "api_key": "***", "max_tokens": 5}
    with pytest.raises(ConfigError, match=r"ingest\.readers") as error:
        load(file, environ={"RAGSTONE_INGEST__READERS": "xyz"})
    assert "a table" in error.value.hint
