import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from core.errors import RagstoneError

Write = Callable[[str, str], Path]


class Cli:
    """The command line in this process, on a data folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *arguments: str, code: int = 0, **environ: str) -> Result:
        env = {"RAGSTONE_DATA": str(self.data), "RAGSTONE_RETRIEVAL__PRECISION": "float32", "COLUMNS": "200"} | environ
        done = CliRunner().invoke(app, arguments, env=env)
        if isinstance(done.exception, RagstoneError):
            assert code == 2, done.exception  # `main` prints it and ends with 2
        else:
            assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str, code: int = 0, **environ: str) -> dict[str, Any]:
        done = self(*arguments, "--json", code=code, **environ)
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def error(self, *arguments: str) -> RagstoneError:
        error = self(*arguments, code=2).exception
        assert isinstance(error, RagstoneError)
        return error

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.data / "kb" / "g0001" / "catalog.sqlite") as db:
            assert db.execute(statement).rowcount == 1
        db.close()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "data")


@pytest.fixture
def folders(write: Write) -> tuple[str, str]:
    write("a/leave.md", "# Leave\n\nAnnual leave is 25 days.")
    write("a/年假.md", "# 年假\n\n年假每年二十五天。")
    one = write("a/empty.md", "")
    return str(one.parent), str(write("b/[parking].md", "# Parking\n\nThe garage opens at 06:30.").parent)


@pytest.fixture
def base(cli: Cli, folders: tuple[str, str]) -> Cli:
    cli("index", *folders, "--kb", "kb", code=1)
    return cli


def test_two_folders_are_indexed_and_later_updated_without_naming_them(
    cli: Cli, folders: tuple[str, str], write: Write
) -> None:
    report = cli.json("index", *folders, "--kb", "kb", code=1)
    assert (report["added"], [row["path"] for row in report["failed"]]) == (3, ["empty.md"])
    cards = {card["path"]: card for card in report["files"]}
    assert set(cards) == {"leave.md", "年假.md", "[parking].md"}
    assert cards["年假.md"]["language"] == "zh"
    assert cards["leave.md"]["chunks"] == 1
    assert cards["leave.md"]["characters"] > 20

    write("a/empty.md", "no longer empty")
    write("b/[parking].md", "# Parking\n\nThe garage opens at 07:00.")
    report = cli.json("index", "--kb", "kb")
    assert (report["added"], report["changed"], report["unchanged"], report["failed"]) == (1, 1, 2, [])
    assert {card["path"] for card in report["files"]} == {"empty.md", "[parking].md"}


def test_a_knowledge_base_without_folders_asks_for_one(cli: Cli) -> None:
    for extra in ([], ["--plan"], ["--rebuild"]):
        error = cli.error("index", "--kb", "kb", *extra)
        assert "follows no folder yet" in error.message
        assert "ragstone index FOLDER --kb kb" in error.hint
    assert "no knowledge base 'kb'" in cli.error("files", "--kb", "kb").message


def test_a_folder_inside_another_is_refused(base: Cli, folders: tuple[str, str]) -> None:
    inside = Path(folders[0]) / "sub"
    inside.mkdir()
    for folder in (inside, inside.parents[1]):
        for extra in ([], ["--plan"]):
            error = base.error("index", str(folder), "--kb", "kb", *extra)
            assert "lies in" in error.message
            assert "ragstone remove" in error.hint
    assert base.json("files", "--kb", "kb")["folders"] == list(folders)


def test_a_plan_is_one_object_and_a_list(base: Cli, folders: tuple[str, str], write: Write) -> None:
    write("a/leave.md", "# Leave\n\nAnnual leave is 27 days.")
    write("b/new.md", "# New\n\nSomething new.")
    os.rename(f"{folders[0]}/年假.md", f"{folders[0]}/[假].md")
    os.unlink(f"{folders[1]}/[parking].md")
    plan = base.json("index", "--kb", "kb", "--plan")
    assert (plan["added"], plan["changed"], plan["deleted"]) == (["new.md"], ["leave.md"], ["[parking].md"])
    assert plan["moved"] == [["年假.md", "[假].md"]]
    assert [row["path"] for row in plan["failed"]] == ["empty.md"]
    assert (plan["unchanged"], plan["chunks"], plan["embed"], plan["exact"]) == (0, 2, 2, True)
    text = base("index", "--kb", "kb", "--plan").stdout
    for line in ("added    new.md", "changed  leave.md", "moved    年假.md -> [假].md", "deleted  [parking].md",
                 "failed   empty.md", "1 added, 1 changed, 1 moved, 1 deleted, 1 failed, 0 unchanged",
                 "2 chunks, 2 to embed"):  # fmt: skip
        assert line in text
    report = base.json("index", "--kb", "kb", code=1)
    counts = [report[key] for key in ("added", "changed", "moved", "deleted", "unchanged", "embedded")]
    assert counts == [1, 1, 1, 1, 0, 2]


def test_files_lists_documents_and_what_could_not_be_read(base: Cli, folders: tuple[str, str]) -> None:
    listed = base.json("files", "--kb", "kb")
    assert listed["folders"] == list(folders)
    assert [card["path"] for card in listed["files"]] == ["[parking].md", "leave.md", "年假.md"]
    assert [(row["path"], row["error"]) for row in listed["failed"]] == [("empty.md", "the file is empty")]
    text = base("files", "--kb", "kb").stdout
    for part in ("[parking].md", "年假.md", "✗ 'empty.md': the file is empty", "3 documents, 1 files"):
        assert part in text


def test_a_document_that_became_unreadable_is_listed_as_stale(base: Cli, folders: tuple[str, str]) -> None:
    Path(folders[0], "leave.md").write_bytes(b"")
    base("index", "--kb", "kb", code=1)
    cards = {card["path"]: card for card in base.json("files", "--kb", "kb")["files"]}
    assert cards["leave.md"]["stale"] == "the file is empty"
    assert "stale: the file is empty" in base("files", "--kb", "kb").stdout


def test_a_removed_folder_takes_its_documents_along_and_its_files_stay(base: Cli, folders: tuple[str, str]) -> None:
    assert "is no folder of 'kb'" in base.error("remove", str(Path(folders[0]).parent), "--kb", "kb").message
    assert "2 documents of" in base("remove", folders[0], "--kb", "kb").stdout
    assert Path(folders[0], "leave.md").exists()
    listed = base.json("files", "--kb", "kb")
    assert (listed["folders"], [card["path"] for card in listed["files"]]) == ([folders[1]], ["[parking].md"])
    assert listed["failed"] == []
    hits = base.json("search", "annual leave", "--kb", "kb")["hits"]
    assert [hit["path"] for hit in hits] == ["[parking].md"]
    assert base.json("verify", "--kb", "kb")["ok"] is True


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM embeddings WHERE key = (SELECT key FROM chunks WHERE text LIKE '%25 days%')", "lost their"),
        ("UPDATE chunks SET text = text || ' and more' WHERE text LIKE '%25 days%'", "do not match their offsets"),
    ],
    ids=["an embedding is gone", "a text was changed"],
)
def test_damage_to_the_catalog_is_found_and_a_repair_and_a_rerun_mend_it(base: Cli, damage: str, words: str) -> None:
    base.sql(damage)
    found = base.json("verify", "--kb", "kb", code=1)
    assert found["ok"] is False
    assert any(words in problem for problem in found["problems"])
    repaired = base("verify", "--kb", "kb", "--repair", code=1)
    assert "run `ragstone index`" in repaired.stdout
    assert base.json("index", "--kb", "kb", code=1)["changed"] == 1
    assert base.json("verify", "--kb", "kb") == {"ok": True, "problems": [], "left": []} | {
        "documents": 3, "chunks": 3, "dense": 2
    }  # fmt: skip
    assert base.json("search", "annual leave", "--kb", "kb")["hits"][0]["text"].endswith("Annual leave is 25 days.")


def test_verify_right_after_indexing_finds_nothing(base: Cli) -> None:
    for _ in range(2):
        assert base.json("verify", "--kb", "kb")["ok"] is True


def test_a_backup_is_restored_taken_back_and_purged(base: Cli, folders: tuple[str, str], tmp_path: Path) -> None:
    tar = str(tmp_path / "kb.tar")
    manifest = base.json("backup", tar, "--kb", "kb")
    assert (manifest["kb"], list(manifest["files"])) == ("kb", ["catalog.sqlite"])
    assert "is there already" in base.error("backup", tar, "--kb", "kb").message
    assert "1 files" in base("backup", tar + "2", "--kb", "kb").stdout

    assert "'copy' is as 'kb' was on" in base("restore", tar, "--kb", "copy").stdout
    assert base.json("search", "annual leave", "--kb", "copy")["hits"][0]["path"] == "leave.md"
    assert "already" in base.error("restore", tar, "--kb", "copy").message
    assert "no earlier generation" in base.error("rollback", "--kb", "copy").message

    base("remove", folders[0], "--kb", "copy")
    base("restore", tar, "--kb", "copy", "--replace")
    assert len(base.json("files", "--kb", "copy")["files"]) == 3
    assert "answers from generation g0001 again" in base("rollback", "--kb", "copy").stdout
    assert len(base.json("files", "--kb", "copy")["files"]) == 1

    receipt = base.json("purge", "--kb", "copy")
    assert (receipt["kb"], receipt["documents"], receipt["embeddings_dropped"]) == ("copy", 1, 0)
    assert {"file", "bytes_before", "bytes_after", "sha256"} == set(receipt["files"][0])
    text = base("purge", "--kb", "copy").stdout
    assert "0 unused embeddings dropped; removed: nothing" in text
    assert "g0001/catalog.sqlite" in text


def test_a_rebuild_keeps_a_generation_that_rollback_returns_to(base: Cli) -> None:
    base("index", "--rebuild", "--kb", "kb", code=1, RAGSTONE_APP__KEEP_GENERATIONS="1")
    assert sorted(p.name for p in (base.data / "kb").glob("g*")) == ["g0001", "g0002"]
    assert "g0001" in base("rollback", "--kb", "kb").stdout
    assert base.json("verify", "--kb", "kb")["documents"] == 3
    assert sorted(p.name for p in (base.data / "kb").glob("g*")) == ["g0001"]
