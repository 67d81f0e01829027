import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.running.audit import entries
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


def test_a_rebuild_replaces_a_damaged_catalog_and_each_folder_is_written_down_once(
    base: Cli, folders: tuple[str, str]
) -> None:
    base("index", *folders, "--kb", "kb")  # both are known
    noted = [row.on + row.detail for row in entries(base.data) if row.what == "folder.add"]
    assert sorted(noted) == sorted(f"kb{folder}" for folder in folders)
    (base.data / "kb" / "g0001" / "catalog.sqlite").write_bytes(b"no database at all" * 1000)
    assert base.json("index", *folders, "--kb", "kb", "--rebuild", code=1)["added"] == 3


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
            assert f"`ragstone remove {folders[0]} --kb kb`" in error.hint
    assert base.json("files", "--kb", "kb")["folders"] == list(folders)


def test_a_plan_is_one_object_and_a_list(base: Cli, folders: tuple[str, str], write: Write) -> None:
    write("a/leave.md", "# Leave\n\nAnnual leave is 27 days.")
    write("b/new.md", "# New\n\nSomething new.")
    os.rename(f"{folders[0]}/年假.md", f"{folders[0]}/[假].md")
    os.unlink(f"{folders[1]}/[parking].md")
    plan = base.json("index", "--kb", "kb", "--plan")
    one, two = folders
    assert plan["added"] == [{"folder": two, "path": "new.md"}]
    assert plan["changed"] == [{"folder": one, "path": "leave.md"}]
    assert plan["deleted"] == [{"folder": two, "path": "[parking].md"}]
    assert plan["moved"] == [{"folder": one, "path": "[假].md", "from": "年假.md"}]
    assert [row["path"] for row in plan["failed"]] == ["empty.md"]
    assert (plan["unchanged"], plan["chunks"], plan["embed"], plan["exact"]) == (0, 2, 2, True)
    text = base("index", "--kb", "kb", "--plan").stdout
    for line in ("added    b/new.md", "changed  a/leave.md", "moved    a/年假.md -> a/[假].md",
                 "deleted  b/[parking].md", "failed   a/empty.md: the file is empty", "2 chunks, 2 to embed",
                 "1 added, 1 changed, 1 moved, 1 deleted, 1 failed, 0 unchanged"):  # fmt: skip
        assert line in text
    report = base.json("index", "--kb", "kb")
    counts = [report[key] for key in ("added", "changed", "moved", "deleted", "unchanged", "embedded")]
    assert counts == [1, 1, 1, 1, 0, 2]


def test_files_lists_documents_and_what_could_not_be_read(base: Cli, folders: tuple[str, str]) -> None:
    listed = base.json("files", "--kb", "kb")
    assert listed["folders"] == list(folders)
    assert [card["path"] for card in listed["files"]] == ["[parking].md", "leave.md", "年假.md"]
    assert [(row["path"], row["error"]) for row in listed["failed"]] == [("empty.md", "the file is empty")]
    rows = [*listed["files"], *listed["failed"]]
    assert [row["folder"] for row in rows] == [folders[1], folders[0], folders[0], folders[0]]
    text = base("files", "--kb", "kb").stdout
    for part in ("b/[parking].md", "a/年假.md", "✗ 'a/empty.md': the file is empty", "3 documents, 1 that could"):
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
    assert "1 damaged documents: `ragstone index --kb kb` reads them again" in repaired.stdout
    assert "--rebuild" not in repaired.stdout
    assert base.json("index", "--kb", "kb")["changed"] == 1
    assert base.json("verify", "--kb", "kb") == {"ok": True, "problems": [], "left": [], "recall_at_10": 1.0} | {
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
    assert "answers from generation g0001 again; g0002 was removed" in base("rollback", "--kb", "copy").stdout
    assert len(base.json("files", "--kb", "copy")["files"]) == 1

    receipt = base.json("purge", "--kb", "copy")
    assert (receipt["kb"], receipt["documents"], receipt["embeddings_dropped"]) == ("copy", 1, 0)
    assert {"file", "bytes_before", "bytes_after", "sha256"} == set(receipt["files"][0])
    text = base("purge", "--kb", "copy").stdout
    assert "0 unused embeddings dropped; removed: nothing" in text
    assert "g0001/catalog.sqlite" in text


def test_a_rebuild_keeps_a_generation_that_rollback_returns_to(base: Cli) -> None:
    base("index", "--rebuild", "--kb", "kb", code=1)
    assert sorted(p.name for p in (base.data / "kb").glob("g*")) == ["g0001", "g0002"]
    assert "g0001" in base("rollback", "--kb", "kb").stdout
    assert base.json("verify", "--kb", "kb")["documents"] == 3
    assert sorted(p.name for p in (base.data / "kb").glob("g*")) == ["g0001"]


def test_without_kb_a_backup_is_restored_under_the_name_it_had(
    base: Cli, folders: tuple[str, str], tmp_path: Path
) -> None:
    tar = str(tmp_path / "backup.tar")
    base("backup", tar, "--kb", "kb")
    base.data = tmp_path / "elsewhere"
    named = [f"--map={folder}={folder}" for folder in folders]
    assert "'kb' is as 'kb' was on" in base("restore", tar, *named).stdout
    assert base.json("verify", "--kb", "kb")["documents"] == 3
    assert "no backup" in base.error("restore", tar + "x").message
    Path(tar).write_bytes(b"no tar")
    assert "is damaged" in base.error("restore", tar).message


def test_a_lost_current_is_mended_and_said(base: Cli) -> None:
    (base.data / "kb" / "CURRENT").unlink()
    assert "is lost" in base.error("verify", "--kb", "kb").message
    found = base.json("verify", "--kb", "kb", "--repair")
    assert found["ok"] is True
    assert "g0001 answers again, with 3 documents" in found["problems"][0]
    assert base.json("verify", "--kb", "kb")["problems"] == []


def test_verify_names_the_cure_and_speaks_of_documents_only_where_some_are_damaged(base: Cli) -> None:
    (base.data / "kb" / "g0001" / "vectors.faiss").unlink()
    found = base("verify", "--kb", "kb", code=1).stdout
    assert "vectors.faiss is missing" in found
    assert "`ragstone verify --repair --kb kb` mends it" in found
    repaired = base("verify", "--kb", "kb", "--repair").stdout
    assert "vectors.faiss is missing" in repaired
    assert "all is well" in repaired
    assert "damaged documents" not in found + repaired


def test_a_file_that_could_not_be_read_before_and_is_unchanged_is_a_note(
    base: Cli, folders: tuple[str, str], write: Write
) -> None:
    done = base("index", "--kb", "kb")
    assert "note: 1 file could not be read before, either: `ragstone files --kb kb` says why" in done.stderr
    assert "✗" not in done.stderr
    assert "1 failed" in done.stdout
    base("index", "--kb", "kb", "--strict", code=1)
    report = base.json("index", "--kb", "kb")
    assert [(row["path"], row["known"]) for row in report["failed"]] == [("empty.md", True)]
    write("b/new.md", "")
    done = base("index", "--kb", "kb", code=1)
    assert "✗ 'b/new.md': the file is empty" in done.stderr
    assert "'a/empty.md'" not in done.stderr
    os.utime(Path(folders[0], "empty.md"), (1, 1))  # it is another file now, as far as can be told
    assert "✗ 'a/empty.md': the file is empty" in base("index", "--kb", "kb", code=1).stderr


def test_plan_and_watch_together_are_refused(base: Cli) -> None:
    assert "--watch" in base.error("index", "--kb", "kb", "--plan", "--watch").message


def test_an_emptied_folder_is_kept_unless_that_is_allowed(cli: Cli, write: Write) -> None:
    files = [write(f"many/{n}.txt", f"第{n}篇。") for n in range(10)]
    folder = str(files[0].parent)
    cli("index", folder, "--kb", "kb")
    nothing = "--set", 'ingest.include=["**/*.mdx"]'
    kept = "folder .*many' had 10 documents and now holds none"
    plan = cli.json(*nothing, "index", "--kb", "kb", "--plan")
    assert (plan["deleted"], [row["path"] for row in plan["failed"]]) == ([], [folder])
    done = cli(*nothing, "index", "--kb", "kb", code=1)
    assert re.search(kept, done.stderr)
    assert f"`ragstone remove {folder} --kb kb`" in done.stderr
    assert len(cli.json("files", "--kb", "kb")["files"]) == 10
    assert len(cli.json(*nothing, "index", "--kb", "kb", "--plan", "--allow-empty")["deleted"]) == 10
    assert cli.json(*nothing, "index", "--kb", "kb", "--allow-empty")["deleted"] == 10


@pytest.mark.parametrize("command", ["index", "restore", "rollback", "backup", "files"])
def test_a_command_that_fails_leaves_no_folder_behind(cli: Cli, write: Write, tmp_path: Path, command: str) -> None:
    docs = str(write("a.md", "Something.").parent)
    bad = str(write("../bad.tar", "no tar"))
    {
        "index": lambda: cli.error("--set", "retrieval.embedder=/nowhere", "index", docs, "--kb", "three"),
        "restore": lambda: cli.error("restore", bad, "--kb", "three"),
        "rollback": lambda: cli.error("rollback", "--kb", "three"),
        "backup": lambda: cli.error("backup", str(tmp_path / "x.tar"), "--kb", "three"),
        "files": lambda: cli.error("files", "--kb", "three"),
    }[command]()
    assert not cli.data.exists()


def test_a_chunk_size_that_does_not_fit_leaves_no_knowledge_base_behind(cli: Cli, write: Write) -> None:
    docs = str(write("a.md", "Something.").parent)
    assert "reads 256 tokens" in cli.error("--set", "ingest.chunk_tokens=999", "index", docs, "--kb", "three").message
    assert not cli.data.exists()
