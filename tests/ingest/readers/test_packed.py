"""Tar archives and packed files: members by their readers, links refused, the limits of zip archives."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from tests.ingest.readers.zipped import zipped

CFG = IngestConfig()
FILES = {"../../制度/a.md": b"# Leave\n\nfive days", "b.csv": b"City,Fare\nBonn,40\n", "x.bin": b"1"}


def tar(members: Mapping[str, bytes], encoding: str = "utf-8", links: bool = False) -> bytes:
    memory = BytesIO()
    with tarfile.open(fileobj=memory, mode="w", encoding=encoding, format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE) if links else ():
            about = tarfile.TarInfo("evil.txt")
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
    return memory.getvalue()


def read(name: str, data: bytes, cfg: IngestConfig = CFG) -> Document:
    return read_bytes(name, data, cfg)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.tar", bytes), ("x.tar.gz", gzip.compress), ("x.tgz", gzip.compress), ("x.tar.bz2", bz2.compress),
        ("x.txz", lzma.compress), ("x", gzip.compress), ("x.zip", bytes),
    ],
)  # fmt: skip
def test_members_stand_under_their_paths_and_links_are_named(name: str, pack: Callable[[bytes], bytes]) -> None:
    document = read(name, pack(tar(FILES, links=True)))
    assert [s.headings for s in document.sections] == [("制度/a.md", "Leave"), ("b.csv",)]
    assert document.text.endswith("City: Bonn | Fare: 40")
    assert document.notes[-2:] == (
        "4 links or devices in the archive were left out", "files inside without a reader: 1 .bin",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.csv.gz", "City: Bonn | Fare: 40"),
        ("b.log.1.gz", "Bonn,40"),
        ("b.gz", "Bonn,40"),
        ("deep/b.CSV.gz", "City: Bonn"),
    ],
)
def test_a_packed_file_is_read_by_the_name_that_it_had(name: str, text: str) -> None:
    assert text in read(name, gzip.compress(FILES["b.csv"])).text


def test_names_in_gbk_and_archives_in_archives() -> None:
    assert read("x.tar", tar({"制度/年假.txt": b"words"}, "gbk")).sections[0].headings == ("制度/年假.txt",)
    document = read(
        "x.zip", zipped({"in/y.tgz": gzip.compress(tar({"a.txt": b"deep"})), "n.csv.xz": lzma.compress(FILES["b.csv"])})
    )
    assert [s.headings for s in document.sections] == [("in/y.tgz", "a.txt"), ("n.csv.xz", "n.csv")]
    assert "City: Bonn" in document.text


def test_limits_hold_over_all_levels() -> None:
    with pytest.raises(ReadError, match="refused as a bomb"):
        read("x.gz", gzip.compress(b"\0" * 60_000_000))
    with pytest.raises(ReadError, match="4 files, the limit is 3"):
        read("x.tar", tar({f"{i}.txt": b"a" for i in range(4)}), IngestConfig(archive_files=3))
    for data in (tar(FILES), gzip.compress(b"words")):
        with pytest.raises(ReadError, match="archives are left out"):
            read("x", data, IngestConfig(archive_files=0))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.gz", gzip.compress(b"words" * 99, mtime=0)[:20]), ("a.xz", b"\xfd7zXZ\0damaged"), ("a.bz2", b"BZh9damaged"),
        ("a.tar", b"no archive"), ("a.tar", tar(FILES)[:300]), ("a.bin.gz", gzip.compress(b"\0\1\2", mtime=0)),
        ("a.gz", gzip.compress(b"", mtime=0)),
    ],
)  # fmt: skip
def test_damaged_and_unreadable_files_are_one_clear_row(name: str, data: bytes) -> None:
    with pytest.raises(ReadError) as caught:
        read(name, data)
    assert caught.value.hint


def test_a_member_that_is_cut_short_is_named_and_the_others_are_read() -> None:
    data = tar({"a.txt": b"whole", "b.txt": b"x" * 5000})
    document = read("x.tar", data[: 512 * 2 + 512 + 700])
    assert document.text == "whole"
    assert any("damaged" in note for note in document.notes)


@pytest.mark.parametrize("suffix", ".7z .rar .pages .numbers .key .one .chm .mobi .azw3 .hwp .wpd .pst .caj".split())
def test_kinds_that_are_not_read_say_what_to_do(suffix: str) -> None:
    for data in (b"\0\1", zipped({"preview.txt": b"words", "Index/Document.iwa": b"1"})):
        with pytest.raises(ReadError, match=r"not read|not unpacked|closed formats") as caught:
            read(f"x{suffix}", data)
        assert caught.value.hint


def test_a_rar_or_7z_archive_under_the_name_of_a_zip_is_known() -> None:
    for data in (b"Rar!\x1a\x07\0", b"7z\xbc\xaf\x27\x1c\0"):
        with pytest.raises(ReadError, match="7z and RAR"):
            read("x.zip", data)
