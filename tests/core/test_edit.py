"""Settings are written into config.toml as a person would: one value, everything else as it was."""

import stat
import tomllib
from pathlib import Path

import pytest

from core.config import SECRETS, Config, load, secrets_of
from core.edit import default, parsed, write
from core.errors import ConfigError
from core.places import DEFAULTS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "config.toml"
    made.write_text(DEFAULTS.read_text("utf-8"), "utf-8")
    return made


def test_a_value_takes_the_place_of_the_old_one_and_nothing_else_changes(file: Path) -> None:
    before = file.read_text("utf-8").splitlines()
    write(load(file, environ={}), "retrieval.k", 5)
    after = file.read_text("utf-8").splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [(f"k = {default('retrieval.k')}", "k = 5")]


def test_every_setting_is_read_back_as_it_was_written_whatever_the_file_holds(tmp_path: Path) -> None:
    """An empty file, then one with all settings by default, in which nothing changes."""
    file = tmp_path / "config.toml"
    file.write_text("# mine\n", "utf-8")
    names = [name for name, _, _ in load(file, environ={}).rows() if name not in SECRETS]
    for name in names:
        write(load(file, environ={}), name, default(name))
    assert file.read_text("utf-8").startswith("# mine\n")
    flat = {f"{s}.{k}": v for s, keys in tomllib.loads(file.read_text("utf-8")).items() for k, v in keys.items()}
    assert flat == {name: default(name) for name in names}


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("retrieval.k", "12", 12), ("retrieval.dense_weight", "0.4", 0.4), ("retrieval.dense_weight", "auto", "auto"),
        ("ingest.exclude", "a/**, b/**", ["a/**", "b/**"]), ("ingest.exclude", '["a,b/**"]', ["a,b/**"]),
        ("ingest.hidden", "true", True), ("llm.model", "千问 \"8B\"\\n", "千问 \"8B\"\\n"), ("llm.model", "", ""),
    ],
)  # fmt: skip
def test_what_is_typed_is_what_the_app_starts_with(file: Path, name: str, typed: str, value: object) -> None:
    settings = load(file, environ={})
    write(settings, name, parsed(settings, name, typed))
    section, key = name.split(".")
    assert getattr(getattr(load(file, environ={}).config, section), key) == value


@pytest.mark.parametrize(("name", "typed"), [("retrieval.k", "0"), ("ingest.ocr", "maybe"), ("ingest.include", "")])
def test_what_the_app_would_not_start_with_is_refused(file: Path, name: str, typed: str) -> None:
    with pytest.raises(ConfigError):
        parsed(load(file, environ={}), name, typed)


def test_a_secret_is_written_apart_for_its_owner_alone_and_comes_before_the_file(file: Path) -> None:
    settings = load(file, environ={})
    write(settings, "llm.api_key", "not-to-be-seen")
    assert "not-to-be-seen" not in file.read_text("utf-8")
    apart = secrets_of(file)
    assert stat.S_IMODE(apart.stat().st_mode) == 0o600
    again = load(file, environ={})
    assert again.config.llm.api_key == "not-to-be-seen"
    assert again.origins["llm.api_key"] == str(apart)
    assert load(file, environ={"RAGSTONE_LLM__API_KEY": "x"}).config.llm.api_key == "x"


def test_what_is_no_secret_has_no_place_among_them(file: Path) -> None:
    secrets_of(file).write_text("[retrieval]\nk = 5\n", "utf-8")
    with pytest.raises(ConfigError, match=r"retrieval\.k is no secret"):
        load(file, environ={})


def test_a_file_that_cannot_be_read_is_left_as_it_is(file: Path) -> None:
    settings = load(file, environ={})
    file.write_text("[retrieval\nk = 5\n", "utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        write(settings, "retrieval.k", 7)
    assert file.read_text("utf-8") == "[retrieval\nk = 5\n"


def test_the_rights_of_the_file_stay(file: Path) -> None:
    file.chmod(0o640)
    write(load(file, environ={}), "retrieval.k", Config().retrieval.k)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_file_that_is_named_is_the_one_that_the_value_then_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is a link, and found in the working folder: the page compares both."""
    (tmp_path / "real.toml").write_text("[retrieval]\nk = 8\n", "utf-8")
    (tmp_path / "config.toml").symlink_to("real.toml")
    monkeypatch.chdir(tmp_path)
    settings = load(environ={})
    for name, value in (("retrieval.k", 5), ("llm.api_key", "x")):
        written = write(settings, name, value)
        assert load(environ={}).origins[name] == str(written)
    assert (tmp_path / "config.toml").is_symlink()
