"""Binary Office files from before 2007: .doc is read here (MS-DOC), what is older goes through LibreOffice.

Many a file of these names is something else inside (RTF, a web page, a present-day package) and is
read as that.
"""

import os
import re
import shutil
import signal
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import code_page, decode, decode_as, signature
from ingest.readers.equation_field import shown_by
from ingest.readers.grid import plain_table
from ingest.readers.legacy_unseen import changes, reason, runs, within
from ingest.readers.markup import read_html, read_xml
from ingest.readers.office import read_docx
from ingest.readers.package import locked, read_stream
from ingest.readers.rtf import read_rtf
from ingest.readers.table import read_delimited, read_sheets
from ingest.readers.text import HeadingPath, Part, assemble, clean, collapse, descend, meaningful, names
from ingest.readers.unseen import Unseen

if TYPE_CHECKING:
    from olefile import OleFileIO

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FIRST_97 = 0xC1  # version of the file format from Word 97 on
_MARK = re.compile("[\r\x07\x0c]")
_KEPT_MARKS = frozenset("\r\x07\x0c")
_MARKS = re.compile("[^\r\x07\x0c]*[\r\x07\x0c]?")
_FIELD = re.compile("([\x13\x14\x15])")
_SHOWN = str.maketrans({"\x0b": "\n", "\x1e": "-", "\x1f": None})
_IN_TABLE, _ROW_END, _OUTLINE = 0x2416, 0x2417, 0x2640
_SHADINGS = (0x442D, 0xC64D)
_PACKAGES = {"docx": "libreoffice-writer", "xlsx": "libreoffice-calc", "pptx": "libreoffice-impress"}
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop>
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
</oor:items>
"""


@dataclass(frozen=True, slots=True)
class _Paragraph:
    level: int = 0  # of a heading, from 1
    in_table: bool = False
    row_end: bool = False
    on_white: bool = False  # nothing that is known gives it another ground


def read_doc(data: bytes, cfg: IngestConfig) -> Document:
    """A Word document of 1995 to 2003, or one of Kingsoft WPS; notes and text boxes follow at the end."""
    from olefile import OleFileIO

    if not data.startswith(OLE):
        return read_other(data, cfg, "Word")
    with OleFileIO(data) as ole:
        if read_stream(ole, "EncryptedPackage"):
            raise locked("Word")
        main = read_stream(ole, "WordDocument")
        if not main:
            return read_docx(convert(data, "doc", "docx", cfg), cfg)
        version, flags = struct.unpack_from("<H6xH", main, 2)
        if flags & 0x100:
            raise locked("Word", for_good=True)
        title = property_title(ole, cfg)
        if version >= _FIRST_97:
            table = read_stream(ole, "1Table" if flags & 0x200 else "0Table")
            return _Word(main, table).document(title)
    if flags & 4:  # saved by appending to the end
        return read_docx(convert(data, "doc", "docx", cfg), cfg)
    start, end = struct.unpack_from("<II", main, 0x18)
    text = _without_fields(decode(main[start:end], cfg)[0])
    lines = (line.replace("\x07", " | ") for line in text.replace("\x07\x07", "\r").split("\r"))
    return assemble([Part("\n".join(lines).translate(_SHOWN))], title)


def read_xls(data: bytes, cfg: IngestConfig) -> Document:
    """An Excel workbook before 2007; web pages and tables of plain text under this name are read as what they are."""
    if data.startswith((OLE, b"PK")):
        return read_sheets(data, cfg)
    if data[:1] == b"\t" and data[1:2] in b"\x00\x02\x04" and data[2:3] in b"\x04\x06":
        return read_sheets(convert(data, "xls", "xlsx", cfg), cfg)
    if signature(data.lstrip()):
        return read_other(data, cfg, "Excel")
    return read_delimited(data, cfg)


def read_other(data: bytes, cfg: IngestConfig, kind: str) -> Document:
    """A file that is no binary Office file, by what it is."""
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"PK"):
        return read_docx(data, cfg)
    if start.startswith(b"{\\rtf"):
        return read_rtf(data, cfg)
    if start.startswith(b"<"):
        return read_xml(data, cfg) if start.startswith(b"<?xml") else read_html(data, cfg)
    seen = signature(data)
    raise ReadError(f"not a {kind} file" + (f": it looks like {seen}" if seen else ""), "give it the right suffix")


def property_title(ole: "OleFileIO", cfg: IngestConfig) -> str:
    """The title from the document's properties (MS-OLEPS): number 2, in the code page that number 1 states."""
    stream = read_stream(ole, "\x05SummaryInformation")
    if len(stream) < 48:
        return ""
    section = stream[int.from_bytes(stream[44:48], "little") :]
    values: dict[int, bytes] = {}
    for at in range(8, min(8 + 8 * int.from_bytes(section[4:8], "little"), len(section) - 7, 800), 8):
        key, offset = struct.unpack_from("<II", section, at)
        values.setdefault(key, section[offset : offset + 1000])
    title = values.get(2, b"")
    size = int.from_bytes(title[4:8], "little")
    if title.startswith(b"\x1f"):
        return meaningful(title[8 : 8 + 2 * size].decode("utf-16-le", "replace").partition("\0")[0])
    page = int.from_bytes(values.get(1, b"")[4:6], "little")
    return meaningful(decode_as(title[8 : 8 + size].partition(b"\0")[0], code_page(page) or "ascii", cfg))


def _without_fields(text: str) -> str:
    """Blank out the instructions of fields with characters that `clean` drops; what they show stays in its place.

    An equation has no text but its instruction, in the place of which stands what it draws, where that is no longer.
    """
    pieces: list[str] = []
    shown: list[bool] = []  # of each open field whether its instruction has ended
    begun: list[tuple[int, int]] = []  # of each open field its place among the pieces, and in the text
    at = 0
    for piece in _FIELD.split(text):
        if piece == "\x13":
            begun.append((len(pieces), at))
            shown.append(False)
        elif piece == "\x14" and shown:
            shown[-1] = True
        elif piece == "\x15" and shown:
            (first, start), drawn = begun.pop(), ""
            if not shown.pop() and all(shown):
                drawn = shown_by(text[start + 1 : at])
            if 0 < len(drawn) <= at - start:
                pieces[first:] = [drawn.ljust(at - start, "\0")]
        pieces.append(piece if all(shown) else "\0" * len(piece))
        at += len(piece)
    return "".join(pieces)


class _Word:
    """The text of a Word 97-2003 document: pieces anywhere in the file, and tables that say what paragraphs are."""

    def __init__(self, main: bytes, table: bytes) -> None:
        self.main, self.table = main, table
        self.positions: list[tuple[int, int, int]] = []  # of each piece: first character, offset, bytes a character
        self.runs: list[tuple[int, _Paragraph]] = []  # first offset of paragraphs, what they are
        self.parts: list[Part] = []
        self.path: HeadingPath = ()
        self.lines: list[str] = []
        self.rows: list[list[str]] = []  # of the present table
        self.tables = 0
        self.unseen = Unseen()
        self.text = _without_fields(self.read_pieces())
        self.read_runs()

    def document(self, title: str) -> Document:
        # In this order: body, footnotes, headers, macros, comments, endnotes, text boxes, text boxes in headers.
        body, footnotes, headers, macros, comments, endnotes, boxes = struct.unpack_from("<7I", self.main, 0x4C)
        at = body + footnotes + headers + macros
        self.leave_unseen([(0, body + footnotes), (at, at + comments + endnotes + boxes)])
        self.walk(0, body)
        notes = [self.plain(body, body + footnotes)]
        notes.append(self.plain(at, at + comments + endnotes + boxes))
        self.close()
        self.parts.append(Part("\n".join(filter(None, notes))))
        first = next((part.headings[0] for part in self.parts if part.headings), "")
        return assemble(self.parts, title or first, tables=self.tables, notes=self.unseen.notes())

    def leave_unseen(self, shown: list[tuple[int, int]]) -> None:
        """Blank out what nobody sees in the parts of the text that are read; marks stay."""
        found = runs(self.main, self.table)
        if not found:
            return
        text, (body, _) = list(self.text), shown
        ends = [*(first for first, _, _ in self.positions[1:]), len(text)]
        for (first, offset, width), end in zip(self.positions, ends, strict=True):
            for start, stop, run in within(found, offset, width, end - first):
                for begin, until in self.by_paragraph(first + start, first + stop):
                    why = reason(run, run.on_white and self.on_white(begin, body[1]))
                    seen = [
                        i for a, b in shown for i in range(max(a, begin), min(b, until)) if text[i] not in _KEPT_MARKS
                    ]
                    if why and seen:
                        self.unseen.leave("".join(text[i] for i in seen).replace("\0", ""), why)
                        for i in seen:
                            text[i] = "\0"
        self.text = "".join(text)

    def by_paragraph(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A stretch of the text, cut behind each mark."""
        for mark in _MARK.finditer(self.text, start, end):
            yield start, mark.end()
            start = mark.end()
        if start < end:
            yield start, end

    def on_white(self, place: int, body: int) -> bool:
        """Whether a character stands before a white ground, as far as is known."""
        mark = _MARK.search(self.text, place)
        kind = self.paragraph(mark.start() if mark else len(self.text) - 1)
        return place < body and kind.on_white and not kind.in_table

    def read_pieces(self) -> str:
        """All characters, one for each that the file counts: those beyond U+FFFF are two."""
        at, size = struct.unpack_from("<II", self.main, 0x1A2)
        end = at + size
        while at < end and self.table[at] == 1:
            at += 3 + struct.unpack_from("<H", self.table, at + 1)[0]
        count = (struct.unpack_from("<I", self.table, at + 1)[0] - 4) // 12
        at += 5
        starts = struct.unpack_from(f"<{count + 1}I", self.table, at)
        texts: list[str] = []
        for i in range(count):
            place = struct.unpack_from("<I", self.table, at + 4 * (count + 1) + 8 * i + 2)[0]
            length = starts[i + 1] - starts[i]
            if place & 0x40000000:
                offset, width = (place & 0x3FFFFFFF) // 2, 1
                text = self.main[offset : offset + length].decode("cp1252", "replace")
            else:
                offset, width = place, 2
                raw = self.main[offset : offset + 2 * length]
                text = "".join(map(chr, struct.unpack(f"<{len(raw) // 2}H", raw[: len(raw) // 2 * 2])))
            self.positions.append((starts[i], offset, width))
            texts.append(text.ljust(length, "\0") if length < len(self.main) else text)
        return "".join(texts)

    def read_runs(self) -> None:
        at, size = struct.unpack_from("<II", self.main, 0x102)
        count = max((size - 4) // 8, 0)
        for page in struct.unpack_from(f"<{count}I", self.table, at + 4 * (count + 1)):
            block = self.main[(page & 0x3FFFFF) * 512 :][:512]
            if len(block) < 512:
                continue
            number = min(block[511], 29)
            for i in range(number):
                start = struct.unpack_from("<I", block, 4 * i)[0]
                self.runs.append((start, _properties(block, 2 * block[4 * (number + 1) + 13 * i])))
        self.runs.sort(key=lambda run: run[0])

    def paragraph(self, end: int) -> _Paragraph:
        """What the paragraph is whose mark is the character at `end`."""
        piece = bisect_right(self.positions, end, key=lambda position: position[0]) - 1
        if piece < 0:
            return _Paragraph()
        first, offset, width = self.positions[piece]
        run = bisect_right(self.runs, offset + (end - first) * width, key=lambda run: run[0]) - 1
        return self.runs[run][1] if run >= 0 else _Paragraph()

    def walk(self, start: int, end: int) -> None:
        cell: list[str] = []
        cells: list[str] = []
        for found in _MARKS.finditer(self.text, start, end):
            if not found[0]:
                break
            kind = self.paragraph(found.end() - 1)
            text = _characters(found[0].rstrip("\r\x07\x0c"))
            if kind.row_end:
                self.row(cells)
                cells = []
            elif found[0].endswith("\x07"):
                cells.append("\n".join([*cell, text]))
                cell = []
            elif kind.in_table:
                cell.append(text)
            elif text and kind.level:
                self.close()
                name = collapse(clean(text))
                self.path = descend(self.path, kind.level, name)
                self.lines.append(name)
            elif text:
                self.line(text)
        self.row([*cells, *cell])

    def row(self, cells: list[str]) -> None:
        if len(cells) > 1:
            self.rows.append([clean(cell) for cell in cells])
        elif line := "".join(cells).strip():
            self.line(line)

    def line(self, line: str) -> None:
        self.end_table()
        self.lines.append(line)

    def end_table(self) -> None:
        rows, self.rows = self.rows, []
        if lines := plain_table(rows):
            self.lines += ["", *lines, ""]
            self.tables += 1

    def plain(self, start: int, end: int) -> str:
        """Text outside the body, without marks."""
        lines = (_characters(line) for line in re.split("[\r\x07\x0c]", self.text[start:end]))
        return "\n".join(line for line in lines if clean(line).strip())

    def close(self) -> None:
        self.end_table()
        self.parts.append(Part("\n".join(self.lines), names(self.path)))
        self.lines = []


def _characters(text: str) -> str:
    return text.translate(_SHOWN).strip("\0 \t\n\x01\x02\x05\x08")


def _properties(block: bytes, at: int) -> _Paragraph:
    """A paragraph's properties on a page of them (MS-DOC 2.9.175): its style's number, then changes to the style."""
    if not at:
        return _Paragraph()
    start, size = (at + 1, 2 * block[at] - 1) if block[at] else (at + 2, 2 * block[at + 1])
    values = block[start : start + size]
    style = int.from_bytes(values[:2], "little")
    found = {key: value[0] for key, value in changes(values[2:]).items() if value}
    level = found.get(_OUTLINE, style - 1 if 1 <= style <= 9 else 9) + 1  # styles 1 to 9 are always the headings
    plain = style == 0 and not any(key in found for key in _SHADINGS)
    return _Paragraph(level if level < 10 else 0, bool(found.get(_IN_TABLE)), bool(found.get(_ROW_END)), plain)


def convert(data: bytes, suffix: str, target: str, cfg: IngestConfig) -> bytes:
    """A file in the present format, by LibreOffice with a profile of its own, without macros. Raises `ReadError`.

    `suffix` and `target` are without dots; it may take four fifths of `cfg.read_seconds`.
    """
    import tempfile

    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        hint = f"install LibreOffice (apt-get install {_PACKAGES[target]}), or save it as .{target}"
        raise ReadError("an old format that only LibreOffice can convert, which is not installed", hint)
    with tempfile.TemporaryDirectory(prefix="ragstone-") as name:
        folder = Path(name)
        (folder / "profile" / "user").mkdir(parents=True)
        (folder / "profile" / "user" / "registrymodifications.xcu").write_text(_PROFILE, encoding="utf-8")
        (folder / f"in.{suffix}").write_bytes(data)
        command = [
            office, f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--norestore",
            "--nolockcheck", "--nodefault", "--convert-to", target, "--outdir", name, str(folder / f"in.{suffix}"),
        ]  # fmt: skip
        _run(command, 0.8 * cfg.read_seconds)  # the process that reads ends at the limit itself
        result = folder / f"in.{target}"
        if not result.is_file():
            raise ReadError("LibreOffice cannot open it", "it is damaged or has a password; open it and save it again")
        if result.stat().st_size > cfg.max_file_mb * 1_000_000:
            raise ReadError("too large once converted", "raise ingest.max_file_mb in config.toml, or split the file")
        return result.read_bytes()


def _run(command: list[str], seconds: float) -> None:
    """Run to the end, or kill it with all that it started."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            hint = "open it in LibreOffice and save it in the present format, or raise ingest.read_seconds"
            raise ReadError(f"LibreOffice took longer than {seconds:g} s", hint) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
