"""Who did what, as it is written down and read again."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli import app
from app.running import audit
from core.errors import CatalogError
from prompts.load import Prompt
from prompts.versions import furnish, to_toml


@settings(deadline=None)  # a disk may be slow
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5))
def test_what_is_written_is_read_again_the_newest_first(tmp_path_factory: pytest.TempPathFactory, deeds: list) -> None:
    data = tmp_path_factory.mktemp("data")
    for who, on, detail in deeds:
        audit.record(data, who, "user.add", on, detail)
    said = [(row.who, row.on, row.detail) for row in audit.entries(data)]
    assert said == deeds[::-1]


def test_many_at_once_write_whole_lines_into_a_file_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: audit.record(tmp_path, "ann", "user.add", f"user{n}", "x" * 500), range(200)))
    assert {row.on for row in audit.entries(tmp_path, 1000)} == {f"user{n}" for n in range(200)}
    assert len(audit.entries(tmp_path, 7)) == 7
    assert stat.S_IMODE((tmp_path / audit.FILE).stat().st_mode) == 0o600


def test_a_line_that_broke_off_hides_no_other_and_a_large_file_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.record(tmp_path, "ann", "user.add", "bob")
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"at": 1, "wh\n')
    audit.record(tmp_path, "ann", "user.remove", "bob")
    assert [row.what for row in audit.entries(tmp_path)] == ["user.remove", "?", "user.add"]
    monkeypatch.setattr(audit, "_LARGE", 10)
    audit.record(tmp_path, "ann", "user.role", "carl")
    assert [row.what for row in audit.entries(tmp_path)] == ["user.role"]
    assert "user.remove" in (tmp_path / "audit.1.jsonl").read_text()


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / audit.FILE).mkdir()
    with pytest.raises(CatalogError, match=r"user\.add was done, and could not be written"):
        audit.record(tmp_path, "ann", "user.add", "bob")


def test_commands_leave_their_deeds_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DATA", str(tmp_path / "data"))
    runner = CliRunner()

    def run(*args: str, typed: str = "") -> str:
        done = runner.invoke(app, list(args), input=typed)
        assert done.exit_code == 0, done.output
        return done.stdout

    password = "correct horse battery"
    run("user", "add", "Ann", "--role", "editor", "--kb", "hr", "--password-stdin", typed=password + "\n")
    key = json.loads(run("user", "key", "add", "ann", "--label", "nightly", "--json"))["key"]
    run("user", "role", "ann", "reader")
    run("user", "access", "ann")
    run("user", "password", "ann", "--password-stdin", typed=password + "!\n")
    run("user", "key", "revoke", "ann", key[:8])
    run("user", "remove", "ann")
    rows = json.loads(run("audit", "--json"))["entries"]
    assert [(row["what"], row["on"], row["detail"]) for row in reversed(rows)] == [
        ("user.add", "ann", "editor; hr"), ("key.add", "ann", f"{key[:8]}… nightly"), ("user.role", "ann", "reader"),
        ("user.access", "ann", "all knowledge bases"), ("user.password", "ann", ""),
        ("key.revoke", "ann", f"{key[:8]}…"), ("user.remove", "ann", "0 conversations"),
    ]  # fmt: skip
    assert all(row["who"].startswith("terminal: ") for row in rows)
    written = (tmp_path / "data" / audit.FILE).read_text()
    assert key not in written
    assert password not in written
    assert "user.remove" in run("audit", "--count", "1")


def test_what_is_done_to_knowledge_bases_and_models_leaves_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, docs, tar = tmp_path / "data", tmp_path / "docs", tmp_path / "kb.tar"
    monkeypatch.setenv("RAGSTONE_DATA", str(data))
    monkeypatch.setenv("RAGSTONE_RETRIEVAL__EMBEDDER", "english")
    docs.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nmarker-5d stands in a document.", encoding="utf-8")
    model = data / "models" / "tuned"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "run.json").write_text('{"kind": "merged", "base": {"name": "/models/lm-1b"}}')
    for line in (
        ["index", str(docs), "--kb", "kb"], ["backup", str(tar), "--kb", "kb"],
        ["restore", str(tar), "--kb", "kb", "--replace"], ["rollback", "--kb", "kb"],
        ["remove", str(docs), "--kb", "kb"], ["purge", "--kb", "kb"], ["promote", "tuned", "--force"],
    ):  # fmt: skip
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, (line, done.output)
    rows = [(row.what, row.on, row.detail) for row in reversed(audit.entries(data))]
    assert rows[1][2].startswith(f"{tar} of ")
    assert [(what, on, detail if what != "base.restore" else "") for what, on, detail in rows] == [
        ("folder.add", "kb", str(docs)), ("base.restore", "kb", ""), ("base.rollback", "kb", "g0001"),
        ("folder.remove", "kb", str(docs)), ("base.purge", "kb", "0 documents stay"),
        ("model.promote", "tuned", "forced"),
    ]  # fmt: skip
    assert "marker-5d" not in (data / audit.FILE).read_text("utf-8")


def test_prompts_that_are_saved_imported_and_studied_leave_a_line_without_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RAGSTONE_PROMPTS__LIBRARY", str(tmp_path / "library"))
    furnish(tmp_path / "library")
    marked = Prompt("greet", 0, "", ("question",), {"en": ("marker-3c", "{question}")}, notes="marker-3c")
    (tmp_path / "greet.toml").write_bytes(to_toml(marked))
    for args in (("new", "greet", "--file"), ("import", "--name", "other")):
        done = CliRunner().invoke(app, ["prompts", *args, str(tmp_path / "greet.toml")])
        assert done.exit_code == 0, done.output
    best = {"name": "greet-tuned", "version": 2}
    report = {"kb": "hr", "id": "abc", "verdict": "gain", "choice": best, "rows": ["marker-3c"]}
    audit.record_study(tmp_path / "data", "ann", report)
    audit.record_study(tmp_path / "data", "ann", report | {"verdict": "no gain", "choice": None})
    assert [(row.what, row.on, row.detail) for row in reversed(audit.entries(tmp_path / "data"))] == [
        ("prompt.save", "greet/v001", ""), ("prompt.import", "other/v001", ""),
        ("prompt.study", "hr", "abc: gain; greet-tuned/v002"), ("prompt.study", "hr", "abc: no gain"),
    ]  # fmt: skip
    assert "marker-3c" not in (tmp_path / "data" / audit.FILE).read_text("utf-8")
