"""Word 97 files built by hand, files of other kinds under old names, and what LibreOffice converts."""

import os
import re
import shutil
import struct
import time
from pathlib import Path

import docx
import pytest

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.legacy import _without_fields, read_doc, read_xls
from ingest.workers import read_apart
from tests.ingest.readers.compound import compound
from tests.ingest.readers.test_package import word

CFG = IngestConfig()
_START = 2048  # where the text begins in the stream


def doc(
    pieces: list[tuple[str, bool]], runs: list[tuple[int, bytes]], notes: int = 0, flags: int = 0x200,
    looks: list[tuple[int, bytes]] | None = None,
) -> bytes:  # fmt: skip
    """A Word document of (text, whether in 8 bits) pieces; `runs` are (first character, properties) of paragraphs, and
    `looks` those of characters, of text in 8 bits.
    """
    text, places, starts = b"", [], [0]
    for piece, narrow in pieces:
        raw = piece.encode("cp1252") if narrow else piece.encode("utf-16-le")
        places.append((_START + len(text)) * 2 | 0x40000000 if narrow else _START + len(text))
        starts.append(starts[-1] + (len(raw) if narrow else len(raw) // 2))
        text += raw
    descriptors = b"".join(struct.pack("<HIH", 0, place, 0) for place in places)
    plc = struct.pack(f"<{len(starts)}I", *starts) + descriptors
    clx = b"\x01\x04\x00skip\x02" + struct.pack("<I", len(plc)) + plc
    page = -(-(_START + len(text)) // 512)
    block = bytearray(512)
    offset = 512
    for i, (_, properties) in enumerate(runs):
        data = struct.pack("<BB", 0, len(properties) // 2) + properties
        offset = (offset - len(data)) // 2 * 2
        block[offset : offset + len(data)] = data
        block[4 * (len(runs) + 1) + 13 * i] = offset // 2
    struct.pack_into(f"<{len(runs) + 1}I", block, 0, *(_START + at for at, _ in runs), _START + len(text))
    block[511] = len(runs)
    papx = struct.pack("<III", _START, _START + len(text), page)
    chpx = struct.pack("<III", _START, _START + len(text), page + 1) if looks else b""
    main = bytearray(_START) + text.ljust(page * 512 - _START, b"\0") + block + _look_page(looks or [], len(text))
    struct.pack_into("<HH6xH", main, 0, 0xA5EC, 0xC1, flags)
    struct.pack_into("<II", main, 0x4C, starts[-1] - notes, notes)
    struct.pack_into("<II", main, 0x102, len(clx), len(papx))
    struct.pack_into("<II", main, 0xFA, len(clx) + len(papx), len(chpx))
    struct.pack_into("<II", main, 0x1A2, 0, len(clx))
    title = struct.pack("<IIIIIIII", 0, 2, 1, 24, 2, 32, 2, 936) + struct.pack("<II", 30, 8) + "差旅手册".encode("gbk")
    summary = struct.pack("<28x16xI", 48) + title
    return compound({"WordDocument": bytes(main), "1Table": clx + papx + chpx, "\x05SummaryInformation": summary})


def _look_page(looks: list[tuple[int, bytes]], length: int) -> bytes:
    """A page of properties of characters."""
    block, offset = bytearray(512), 511
    for i, (_, changes) in enumerate(looks):
        offset = (offset - len(changes) - 1) // 2 * 2
        block[offset : offset + len(changes) + 1] = bytes((len(changes),)) + changes
        block[4 * (len(looks) + 1) + i] = offset // 2
    struct.pack_into(f"<{len(looks) + 1}I", block, 0, *(_START + at for at, _ in looks), _START + length)
    block[511] = len(looks)
    return bytes(block)


def properties(style: int, *changes: bytes) -> bytes:
    return (struct.pack("<H", style) + b"".join(changes)).ljust(8, b"\0")


HEADING, NORMAL = properties(2), properties(0)
CELL, ROW = properties(0, b"\x16\x24\x01"), properties(0, b"\x16\x24\x01", b"\x17\x24\x01")


def test_pieces_of_both_widths_headings_rows_fields_and_notes() -> None:
    texts = ["Caf\xe9 rules\r", "City\x07Fa\rre\x07", "\x07", "see \x13 HYPERLINK x \x14here\x15\x0bnext\r", "a note\r"]
    kinds = [HEADING, CELL, ROW, NORMAL, NORMAL]
    starts = [sum(map(len, texts[:i])) for i in range(len(texts))]
    document = read_doc(doc([("".join(texts), True)], list(zip(starts, kinds, strict=True)), notes=7), CFG)
    assert document.text == "Café rules\n\n| City | Fa re |\n| --- | --- |\n\nsee here\nnext\n\na note"
    assert [s.headings for s in document.sections] == [("Café rules",), ()]
    assert (document.title, document.tables) == ("差旅手册", 1)


PLAIN = b"\x35\x08\x01"  # bold
VANISH, WHITE, WHITE_NUMBER = b"\x3c\x08\x01", b"\x70\x68\xff\xff\xff\x00", b"\x42\x2a\x08"
DISPLAYED, SAME = "they are not displayed", "they have the colour of their ground"


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (VANISH, DISPLAYED), (b"\x3c\x08\x81", DISPLAYED), (WHITE, SAME), (WHITE_NUMBER, SAME), (PLAIN + WHITE, SAME),
        (b"\x43\x4a\x02\x00", "they are too small to be read"), (b"\x37\x08\x01", "they are struck out"),
        (b"\x00\x08\x01", "they are deleted by tracked changes"),
    ],
)  # fmt: skip
def test_what_nobody_sees_is_left_out_and_named(look: bytes, why: str) -> None:
    text = "Before marker\rafter\r"
    data = doc([(text, True)], [(0, NORMAL)], looks=[(0, PLAIN), (7, look), (15, PLAIN)])
    document = read_doc(data, CFG)
    assert document.text.split() == ["Before", "fter"]
    seen = "" if "struck" in why or "deleted" in why else "that nobody sees "
    assert document.notes == (f"7 characters {seen}were left out: {why}",)


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        (b"\x3c\x08\x00", NORMAL), (b"\x70\x68\x00\x00\x80\x00", NORMAL), (WHITE + b"\x0c\x2a\x01", NORMAL),
        (WHITE + b"\x71\xca\x0a" + b"\0" * 10, NORMAL), (b"\x70\x68\xff\xff\xff\xff", NORMAL),
        (WHITE, properties(0, b"\x2d\x44\x01\x00")), (WHITE, properties(12)), (WHITE, CELL),
        (b"\x43\x4a\x10\x00", NORMAL),
    ],
)  # fmt: skip
def test_what_can_be_seen_stays(look: bytes, kind: bytes) -> None:
    document = read_doc(doc([("Before shown\r", True)], [(0, kind)], looks=[(0, PLAIN), (7, look)]), CFG)
    assert document.text == "Before shown"
    assert document.notes == ()


def test_hidden_words_of_notes_are_left_out_and_those_of_headers_not_counted() -> None:
    data = doc([("Text\rA note marker\r", True)], [(0, NORMAL)], notes=14, looks=[(0, PLAIN), (12, VANISH)])
    document = read_doc(data, CFG)
    assert document.text == "Text\n\nA note"
    assert document.notes == (f"6 characters that nobody sees were left out: {DISPLAYED}",)


def test_wide_pieces_with_characters_beyond_the_basic_plane() -> None:
    document = read_doc(doc([("年假😊", False), (" five days", True), ("五天\r", False)], [(0, NORMAL)]), CFG)
    assert document.text == "年假😊 five days五天"


def test_a_password_is_an_error() -> None:
    with pytest.raises(ReadError, match="password"):
        read_doc(doc([("x\r", True)], [(0, NORMAL)], flags=0x300), CFG)
    with pytest.raises(ReadError, match="password"):
        read_doc(compound({"EncryptedPackage": b"x"}), CFG)


def test_other_kinds_under_an_old_name_are_read_as_what_they_are() -> None:
    assert read_doc(rb"{\rtf1 rich}", CFG).text == "rich"
    assert read_doc(b"<html><p>web</p></html>", CFG).text == "web"
    assert read_doc(word("present"), CFG).text == "present"
    assert "City: Bonn" in read_xls(b"City\tFare\nBonn\t40\n", CFG).text
    assert "Bonn | 40" in read_xls(b"<table><tr><td>Bonn</td><td>40</td></tr></table>", CFG).text
    with pytest.raises(ReadError, match="looks like a PDF"):
        read_doc(b"%PDF-1.4", CFG)


def office(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program in the place of LibreOffice."""
    (folder / "soffice").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "soffice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_only_libreoffice_reads_is_converted_without_macros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = docx.Document()
    document.add_paragraph("converted")
    document.save(str(tmp_path / "made.docx"))
    office(
        tmp_path,
        monkeypatch,
        f"""while [ $# -gt 2 ]; do [ "$1" = --outdir ] && out=$2; shift; done
        grep -q DisableMacrosExecution "$out/profile/user/registrymodifications.xcu" || exit 1
        cp {tmp_path}/made.docx "$out/in.docx" """,
    )
    assert read_doc(compound({"MatOST": b"works"}), CFG).text == "converted"


@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_a_workbook_of_1992_is_read_by_libreoffice_within_the_limits_of_a_worker(tmp_path: Path) -> None:
    text = b"Blade pitch 42 degrees"
    label = struct.pack("<4H", 0, 0, 0, len(text)) + text  # row, column, format, length
    records = [(0x0409, struct.pack("<3H", 0, 0x10, 0)), (0x0204, label), (0x000A, b"")]  # start, cell, end of BIFF4
    file = tmp_path / "old.xls"
    file.write_bytes(b"".join(struct.pack("<2H", kind, len(body)) + body for kind, body in records))
    assert read_apart(file, CFG).document.text == text.decode()


def test_a_conversion_that_hangs_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office(tmp_path, monkeypatch, f"(sleep 1.5; touch {tmp_path}/alive) & sleep 60")
    with pytest.raises(ReadError, match="took longer"):
        read_doc(compound({"MatOST": b"works"}), IngestConfig(read_seconds=0.5))
    time.sleep(2)
    assert not (tmp_path / "alive").exists()


def test_without_libreoffice_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReadError, match="LibreOffice") as caught:
        read_doc(compound({"MatOST": b"works"}), CFG)
    assert "libreoffice-writer" in caught.value.hint
    with pytest.raises(ReadError) as caught:
        read_xls(b"\x09\x04\x06\x00" + b"\0" * 40, CFG)
    assert "libreoffice-calc" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("\x13 EQ \\f(1,2) \x15", "1/2"), ("\x13 EQ \\o\\ac(○,3)\x14\x15", ""), ("\x13 EQ \\o\\ac(○,3)\x15", "③"),
        ("\x13 REF x \x15", ""), ("\x13 IF \x13 EQ \\f(1,2) \x15 = 1 \x14no\x15", "no"),
        ("\x13 EQ \\r(3,x+1) \x15", "√(x+1) [root 3]"), ("\x13EQ \\r(3,x+1)\x15", ""),
    ],
)  # fmt: skip
def test_what_an_equation_field_draws_takes_no_more_room_than_its_code(field: str, text: str) -> None:
    said = _without_fields(f"a{field}b")
    assert (re.sub("[\0\x14\x15]", "", said), len(said)) == (f"a{text}b", len(field) + 2)
