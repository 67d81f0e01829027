import json
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest

from core.config import Config, load
from core.errors import ConfigError
from core.places import ROOT


def written(tmp_path: Path, body: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(body, encoding="utf-8")
    return file


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[retrieval]\nk = 3\ncandidates = 30\nneighbours = 2\n")
    environ = {"RAGSTONE_RETRIEVAL__K": "4", "RAGSTONE_RETRIEVAL__CANDIDATES": "40"}
    settings = load(file, {"retrieval.k": "5"}, environ)
    cfg = settings.config.retrieval
    assert (cfg.k, cfg.candidates, cfg.neighbours, cfg.batch_size) == (5, 40, 2, 32)
    origins = [settings.origins[f"retrieval.{key}"] for key in ("k", "candidates", "neighbours", "batch_size")]
    assert origins == ["flag", "RAGSTONE_RETRIEVAL__CANDIDATES", str(file), "default"]


def test_ragstone_data_is_the_data_folder(tmp_path: Path) -> None:
    assert load(written(tmp_path, ""), environ={"RAGSTONE_DATA": "/elsewhere"}).config.app.data == "/elsewhere"


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    assert load(written(tmp_path, '[app]\ndata = "store"\n'), environ={}).config.app.data == str(tmp_path / "store")


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("[retreival]\nk = 3\n", ["[retreival]", "did you mean 'retrieval'", "config.toml"]),
        ("[retrieval]\ntopk = 3\n", ["retrieval.topk", "known:", "config.toml"]),
        ("[retrieval]\nk = 'three'\n", ["retrieval.k", "'three'", "a whole number ≥ 1"]),
        ("[retrieval]\nk = 0\n", ["retrieval.k", "0", "≥ 1"]),
        ("[retrieval]\nmode = 'fuzzy'\n", ["retrieval.mode", "'fuzzy'", "'hybrid'"]),
        ("[app]\nport = true\n", ["app.port", "True", "a whole number"]),
        ("[ingest]\ninclude = '*.md'\n", ["ingest.include", "a list of strings"]),
        ("k = 3\n", ["k = 3", "outside any section", "[retrieval]"]),
        ("[retrieval\n", ["not valid TOML", "config.toml"]),
    ],
)
def test_a_wrong_setting_is_one_message_with_file_key_value_and_what_is_allowed(
    tmp_path: Path, body: str, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, body), environ={})
    for part in parts:
        assert part in str(error.value)


def test_a_wrong_environment_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RAGSTONE_APP__PORT.*not allowed"):
        load(written(tmp_path, ""), environ={"RAGSTONE_APP__PORT": "high"})
    with pytest.raises(ConfigError, match="RAGSTONE_APP__PROT"):
        load(written(tmp_path, ""), environ={"RAGSTONE_APP__PROT": "1"})


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "none.toml", environ={})


def test_secrets_are_masked_in_the_listing(tmp_path: Path) -> None:
    rows = load(written(tmp_path, ""), environ={"RAGSTONE_LLM__API_KEY": "sk-1"}).rows()
    assert [value for name, value, _ in rows if name == "llm.api_key"] == ["***"]


def test_the_shipped_file_lists_every_key_with_its_default_and_a_comment() -> None:
    text = (ROOT / "config.toml").read_text("utf-8")
    data = tomllib.loads(text)
    assert data == Config().model_dump()
    previous = ""
    for line in text.splitlines():
        key = line.split(" = ")[0]
        if " = " in line and not line.startswith("#"):
            assert previous.startswith("#") or " = " in previous, f"{key} has no comment"
        previous = line


def test_the_environment_takes_the_value_of_every_key(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    for section, keys in Config().model_dump().items():
        for key, value in keys.items():
            environ = {f"RAGSTONE_{section}__{key}".upper(): value if isinstance(value, str) else json.dumps(value)}
            assert load(file, environ=environ).config.model_dump()[section][key] == value, f"{section}.{key}"


def test_groups_are_given_in_the_environment_as_a_table(tmp_path: Path) -> None:
    rights = {"staff": {"role": "reader", "kbs": ["handbook"]}}
    raw = '{ staff = { role = "reader", kbs = ["handbook"] } }'
    environ = {"RAGSTONE_OIDC__GROUPS": raw, "RAGSTONE_LDAP__GROUPS": raw}
    config = load(written(tmp_path, ""), environ=environ).config
    assert config.oidc.groups == config.ldap.groups == rights


@pytest.mark.parametrize(
    ("raw", "globs"),
    [
        ('["**/sub/**"]', ["**/sub/**"]),
        ("['a,b', \"c\"]", ["a,b", "c"]),
        ("[]", []),
        ("a/**, b/**", ["a/**", "b/**"]),
        ("a[1].md", ["a[1].md"]),
    ],
)
def test_a_list_is_given_as_in_the_file_or_by_commas(tmp_path: Path, raw: str, globs: list[str]) -> None:
    file = written(tmp_path, "")
    assert load(file, {"ingest.exclude": raw}, {}).config.ingest.exclude == globs
    assert load(file, environ={"RAGSTONE_INGEST__EXCLUDE": raw}).config.ingest.exclude == globs


@pytest.mark.parametrize("raw", ['["a"', "[a, b]", "[1, 2]", '["a"] "b"'])
def test_a_malformed_list_is_refused(tmp_path: Path, raw: str) -> None:
    with pytest.raises(ConfigError, match=r"ingest\.exclude = .* is not allowed") as error:
        load(written(tmp_path, ""), {"ingest.exclude": raw}, {})
    assert '["a", "b"]' in error.value.hint


@pytest.mark.parametrize("glob", ["", "/docs/**", "../docs/*", "./*.md", "a/../b.md", "a//b.md"])
@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_glob_that_can_never_match_is_refused(tmp_path: Path, key: str, glob: str) -> None:
    with pytest.raises(ConfigError, match=rf"ingest\.{key}") as error:
        load(written(tmp_path, f"[ingest]\n{key} = ['*.md', '{glob}']\n"), environ={})
    assert f"{glob!r} matches nothing" in error.value.hint


def test_a_glob_that_ends_in_a_slash_leaves_a_folder_out_and_reads_none(tmp_path: Path) -> None:
    assert load(written(tmp_path, ""), {"ingest.exclude": "drafts/"}, {}).config.ingest.exclude == ["drafts/"]
    for include in ("drafts/", ""):
        with pytest.raises(ConfigError, match=r"ingest\.include"):
            load(written(tmp_path, ""), {"ingest.include": include}, {})


def test_a_file_that_is_no_toml_names_the_line_and_one_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, "[app]\nkb = work\n"), environ={})
    assert error.value.hint.startswith("mend line 2;")
    (tmp_path / "config.toml").write_text("[app]\n", encoding="utf-16")
    with pytest.raises(ConfigError, match="not in UTF-8") as error:
        load(tmp_path / "config.toml", environ={})
    assert error.value.hint == "save it as UTF-8 in your editor"


def test_prompts_are_those_of_the_app_wherever_the_file_of_settings_is(tmp_path: Path) -> None:
    config = load(written(tmp_path, "[app]\nkb = 'x'\n"), environ={}).config
    assert config.prompts.library == str(ROOT / "prompts" / "library")
    assert config.app.data == str(tmp_path / "data")


@pytest.mark.parametrize(
    "text",
    ["", "[server]\nport = 1\n", '[tool.app]\nx = 1\n[build]\ntext = "app"\n', "# [app]\n", "[broken\n", "x = [\n"],
)
def test_a_config_toml_of_another_program_is_passed_over_with_a_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(written(tmp_path, text).parent)
    assert load(environ={}).file == ROOT / "config.toml"
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'config.toml'} is another program's: it has none of our sections"
    ]
    with pytest.raises(ConfigError) if text and not text.startswith("#") else nullcontext():
        load(tmp_path / "config.toml", environ={})  # one that is named is taken as it is


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nport = 1\n[ llm ]\n", r"\[server\]"),
        ("[app\n", "not valid TOML"),
        ("app.kv = 1\n", "app.kv"),
        ('"retrieval" = {topk = 1}\n', "retrieval.topk"),
        ("[app.data]\n", "app.data"),
    ],
)
def test_a_config_toml_in_the_current_folder_with_a_section_of_ours_and_a_mistake_is_an_error(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written(tmp_path, text).parent)
    with pytest.raises(ConfigError, match=words):
        load(environ={})


def test_a_config_toml_in_the_current_folder_is_ours_where_it_has_a_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written(tmp_path, "\ufeff[app]\nkb = 'x'\n").parent)
    with pytest.raises(ConfigError, match="not valid TOML"):  # as TOML has it, there is no byte order mark
        load(environ={})
    written(tmp_path, "[app]\nkb = 'x'\n")
    assert load(environ={}).config.app.kb == "x"
    (tmp_path / "config.toml").write_text("[app]\nkb = 'x'\n", encoding="utf-16")
    with pytest.raises(ConfigError, match="not in UTF-8"):
        load(environ={})


def test_an_address_is_shown_without_the_password_in_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    address = "https://ann:MARKER@models.example/v1"
    file.write_text(f'[llm]\nbase_url = "{address}"\nbase_urls = ["{address}"]\n', "utf-8")
    settings = load(file, environ={})
    assert settings.config.llm.base_url == address
    rows = {name: value for name, value, _ in settings.rows()}
    assert (rows["llm.base_url"], rows["llm.base_urls"]) == (
        "https://***@models.example/v1", ["https://***@models.example/v1"]
    )  # fmt: skip
