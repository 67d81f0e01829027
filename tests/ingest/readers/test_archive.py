"""Archives: members by their readers, limits over all levels, names in GBK, notes on what was not read."""

from pathlib import Path

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from tests.ingest.readers.zipped import zipped

CFG = IngestConfig()


def read(data: bytes, cfg: IngestConfig = CFG) -> Document:
    return read_bytes("x.zip", data, cfg)


def test_members_stand_under_their_paths_and_what_fails_is_noted() -> None:
    document = read(zipped({
        "notes/a.md": b"# Leave\n\nfive days", "b.csv": b"City,Fare\nBonn,40\n", "bad.docx": b"PK\x03\x04",
        "x.mp4": b"1", "y.exe": b"2", "__MACOSX/._a.md": b"\0\0", "empty/": b"", "empty.md": b"",
    }))  # fmt: skip
    assert [s.headings for s in document.sections] == [("notes/a.md", "Leave"), ("b.csv",)]
    assert document.tables == 1
    assert document.notes[1] == "empty.md: empty"
    assert document.notes[0].startswith("bad.docx: damaged Word file")
    assert document.notes[-1].startswith("files inside without a reader: ")
    assert ".exe" in document.notes[-1]


@pytest.mark.parametrize(
    ("name", "encoding"), [("制度/年假.txt", "gbk"), ("年假.txt", "utf-8"), ("休暇の規則一覧.txt", "cp932")]
)
def test_names_that_are_not_marked_as_utf8(name: str, encoding: str) -> None:
    raw = name.encode(encoding)
    stand_in = "".join(chr(ord("a") + i % 26) for i in range(len(raw)))
    data = zipped({stand_in: b"words"}).replace(stand_in.encode(), raw)
    assert read(data).sections[0].headings == (name,)


def test_archives_in_archives_are_read_to_the_configured_depth() -> None:
    data = zipped({"a.txt": b"level 3"})
    for level in (2, 1, 0):
        data = zipped({f"{level}.txt": f"level {level}".encode(), "in.zip": data})
    document = read(data)
    assert [f"level {level}" in document.text for level in range(4)] == [True, True, True, False]
    assert document.notes == ("in.zip/in.zip/in.zip: nested too deeply",)
    assert ("in.zip", "in.zip", "2.txt") in [s.headings for s in document.sections]


def test_more_files_than_allowed_are_refused_counted_over_all_levels() -> None:
    cfg = IngestConfig(archive_files=3)
    many = zipped({f"{i}.txt": b"words" for i in range(4)})
    with pytest.raises(ReadError, match="4 files, the limit is 3") as caught:
        read(many, cfg)
    assert "archive_files" in caught.value.hint
    assert "in.zip: an archive of 4 files" in read(zipped({"a.txt": b"x", "in.zip": many}), cfg).notes[0]
    with pytest.raises(ReadError, match="left out"):
        read(many, IngestConfig(archive_files=0))


def test_a_bomb_is_refused_whatever_its_directory_says() -> None:
    zeros = zipped({f"{i}.txt": b" " * 26_000_000 for i in range(2)})
    with pytest.raises(ReadError, match="bomb"):
        read(zeros)
    with pytest.raises(ReadError, match="bomb"):
        read(zipped({"a.txt": bytes(range(256)) * 5000}), IngestConfig(archive_mb=1))
    inner = zipped({"in.zip": zipped({"z.txt": b"a" * 60_000_000}), "a.txt": b"words"})
    with pytest.raises(ReadError, match="bomb"):
        read(zipped({"in.zip": inner, "a.txt": b"words"}))


def test_locked_members_are_noted_and_an_archive_of_them_is_refused() -> None:
    data = bytearray(zipped({"a.txt": b"words", "b.txt": b"words"}))
    local, central = data.find(b"PK\x03\x04"), data.find(b"PK\x01\x02")
    data[local + 6] |= 1
    data[central + 8] |= 1
    assert read(bytes(data)).notes == ("a.txt: password-protected",)
    data[data.find(b"PK\x03\x04", local + 1) + 6] |= 1
    data[data.find(b"PK\x01\x02", central + 1) + 8] |= 1
    with pytest.raises(ReadError, match="password"):
        read(bytes(data))


def test_nothing_readable_and_no_archive_are_errors() -> None:
    with pytest.raises(ReadError, match=r"nothing .* 1 \.exe"):
        read(zipped({"x.exe": b"MZ"}))
    with pytest.raises(ReadError, match="damaged zip"):
        read(zipped({"a.txt": b"words"})[:-30])
    with pytest.raises(ReadError, match="looks like a Windows program"):
        read(b"MZ-1.4")


def test_nothing_is_written_and_paths_that_climb_are_only_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(zipped({"../../evil.txt": b"words"})).sections[0].headings == ("evil.txt",)
    assert list(tmp_path.iterdir()) == []
    assert not (tmp_path.parent.parent / "evil.txt").exists()
