import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.commands.index_report import shower
from tests.app.commands.test_manage import Cli

Write = Callable[[str, str], Path]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "data")


def test_a_folder_is_named_where_there_are_several_and_whole_where_names_repeat() -> None:
    assert shower(["/x/a"])("/x/a", "it/vpn.md") == "it/vpn.md"
    assert shower(["/x/a", "/x/b"])("/x/b", "it/vpn.md") == "b/it/vpn.md"
    assert shower(["/x/a", "/y/a"])("/y/a", "it/vpn.md") == "/y/a/it/vpn.md"
    assert shower(["/x/a", ""])("", "row 1") == "row 1"


def test_the_same_name_in_two_folders_is_told_apart_everywhere(cli: Cli, write: Write) -> None:
    folders = [str(write(f"{folder}/notes.md", "").parent) for folder in "ab"]
    for folder in "ab":
        write(f"{folder}/same.md", f"# Same\n\nOf folder {folder}.")
    plan = cli.json("index", *folders, "--kb", "kb", "--plan")
    report = cli.json("index", *folders, "--kb", "kb", code=1)
    listed = cli.json("files", "--kb", "kb")
    for rows in (plan["added"], report["files"], listed["files"]):
        assert [(row["folder"], row["path"]) for row in rows] == [(folder, "same.md") for folder in folders]
    for rows in (plan["failed"], report["failed"], listed["failed"]):
        assert [(row["folder"], row["path"]) for row in rows] == [(folder, "notes.md") for folder in folders]
    text = cli("files", "--kb", "kb").stdout + cli("index", "--kb", "kb", "--rebuild", code=1).stderr
    for part in ("a/same.md", "b/same.md", "✗ 'a/notes.md': the file is empty", "✗ 'b/notes.md': the file is empty"):
        assert part in text


def test_a_list_for_another_program_has_a_line_for_each_document_and_no_empty_column(cli: Cli, write: Write) -> None:
    name = "a rather long name of a folder/and a still longer name of a file in it that goes on and on and on.md"
    write(name, "# Long\n\nSomething.")
    cli("index", str(write("short.md", "# Short\n\nSomething.").parent), "--kb", "kb")
    header, *rows = cli("files", "--kb", "kb", COLUMNS="80").stdout.splitlines()
    assert header.split() == ["file", "language", "chunks", "characters", "encoding"]
    assert rows[0].split("  ")[0].strip() == name
    assert rows[1].split() == ["short.md", "en", "1", "19", "utf-8"]


def test_few_skipped_files_are_named_with_the_reason(cli: Cli, write: Write) -> None:
    folder = str(write("a.md", "Something.").parent)
    write("odd.xyz", "Something.")
    assert "skipped 'odd.xyz': no reader for '.xyz'" in cli("index", folder, "--kb", "kb").stderr
    for n in range(10):
        write(f"{n}.xyz", "Something.")
    done = cli("index", "--kb", "kb")
    assert "11 skipped" in done.stdout
    assert "odd.xyz" not in done.stderr


def test_a_folder_that_is_gone_is_named_once_and_listed(cli: Cli, write: Write) -> None:
    folder = str(write("a.md", "Something.").parent)
    cli("index", folder, "--kb", "kb")
    shutil.rmtree(folder)
    assert cli("index", "--kb", "kb", code=1).stderr.count(folder) == 1
    assert f"folder '{folder}' does not exist" in cli("files", "--kb", "kb").stdout
    assert [row["path"] for row in cli.json("files", "--kb", "kb")["failed"]] == [folder]


def test_a_knowledge_base_without_folders_says_so(cli: Cli, write: Write) -> None:
    folder = str(write("a.md", "Something.").parent)
    cli("index", folder, "--kb", "kb")
    cli("remove", folder, "--kb", "kb")
    assert "0 documents, 0 that could not be read, from no folder" in cli("files", "--kb", "kb").stdout
