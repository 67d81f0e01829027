"""The sheets of an .xlsx: its XML, read directly, because the libraries give values without how they are shown.

Source: ISO/IEC 29500-1, 18.2 (workbook), 18.3 (worksheets), 18.4 (shared strings), 18.7 (comments), 18.8 (styles),
20.5 (drawings).
"""

import html
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from io import BytesIO
from typing import IO, TYPE_CHECKING
from zipfile import ZipFile

from ingest.readers.drawing import chart_titles
from ingest.readers.number_format import GENERAL, general, shown, shown_text
from ingest.readers.package import parse_xml, transitional
from ingest.readers.sheet import Sheet
from ingest.readers.sheet_pictures import picture_texts
from ingest.readers.sheet_strings import PARSING, String, forget, string_of, unescaped
from ingest.readers.sheet_strings import strings as shared_strings
from ingest.readers.sheet_styles import CHECK_BOX, CellStyle, Colours, cell_styles
from ingest.readers.slide_text import alternative, body_lines, leave_unseen, shapes_in
from ingest.readers.symbols import TICKED, UNTICKED
from ingest.readers.text import clean
from ingest.readers.unseen import NOT_DISPLAYED, SAME_COLOUR, STRUCK, TINY, alike

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

WORKBOOK = "xl/workbook.xml"
_MOST_COLUMNS = 16_384
_MOST_ROWS = 1_048_576
_TAGS = ("{*}row", "{*}col", "{*}mergeCell", "{*}autoFilter", "{*}conditionalFormatting")
_COLOURING = ("/table", "/pivotTable", "/image")  # what lies behind the cells: bands of a table, a picture
_COMMENTS = ("/comments", "/threadedComment")
_BLOCK = 4_000_000
_ROW = re.compile(rb'<row r="(\d{1,7})"([^<>]*)(?<!/)>((?:(?!</?row|<!).)*+)</row>', re.S)
_CELL = re.compile(
    rb'<c r="([A-Z]{1,3})\d+"(?: s="(\d+)")?(?: t="(\w+)")?(?:/>|>(<f(?:\s[^<>]*)?(?:/>|>[^<]*</f>))?'
    rb"(?:<v>([^<]*)</v>|<v/>|<is><t(?:\s[^<>]*)?>([^<]*)</t></is>)?</c>)"
)
_NO_SIZE = re.compile(r"0+(?:\.0*)?")
_HIDDEN = re.compile(rb'\b(?:hidden="(?:1|true)|ht="0+(?:\.0*)?)"')
_THREADED = "[Threaded comment]"  # the older form of one, which says how to see it


def sheets(archive: ZipFile) -> Iterator[Sheet]:
    """The sheets of a workbook in order, hidden ones without their cells."""
    members = {name.replace("\\", "/").lower(): name for name in archive.namelist()}
    links = _links(archive, members, WORKBOOK)
    book = parse_xml(archive.read(members[WORKBOOK]))
    since_1904 = any(about.get("date1904") in ("1", "true") for about in book.iter("{*}workbookPr"))
    parts = {kind.rpartition("/")[2]: member for kind, member in links.values()}
    looks, theme = (
        parse_xml(archive.read(members[member])) if (member := parts.get(name, usual)) in members else None
        for name, usual in (("styles", "xl/styles.xml"), ("theme", "xl/theme/theme1.xml"))
    )
    colours = Colours(looks, theme)
    styles = [] if looks is None else cell_styles(looks, colours)
    strings = shared_strings(archive, members, parts.get("sharedStrings", "xl/sharedstrings.xml"), colours)
    pictures = picture_texts(archive, members)
    for about in book.iter("{*}sheet"):
        key = next((value for name, value in about.attrib.items() if str(name).endswith("}id")), "")
        sheet = Sheet(str(about.get("name", "")), about.get("state", "visible") != "visible")
        member = links.get(str(key), ("", ""))[1]
        if not sheet.hidden and member in members:
            own = [*_links(archive, members, member).values()]
            behind = any(kind.endswith(_COLOURING) for kind, _ in own)
            with archive.open(members[member]) as stream:
                _Filling(sheet, strings, styles, since_1904, behind, colours, pictures).read(stream)
            _comments(archive, members, own, sheet)
            _boxes(archive, members, own, sheet, colours)
        yield sheet


def _links(archive: ZipFile, members: dict[str, str], of: str) -> dict[str, tuple[str, str]]:
    """What a member refers to: id -> type, name of the other member."""
    folder, name = posixpath.split(of)
    own = f"{folder}/_rels/{name}.rels"
    if own not in members:
        return {}
    return {
        str(link.get("Id")): (
            str(link.get("Type", "")),
            posixpath.normpath(posixpath.join(f"/{folder}", link.get("Target", ""))).lstrip("/").lower(),
        )
        for link in parse_xml(archive.read(members[own]))
    }


class _Filling:
    """Fills a sheet from its XML.

    Rows in the plain form that programs write are cut out by regular expressions, which takes a fifth of the time;
    all other rows, and what stands around them, go through the XML parser.
    """

    def __init__(
        self, sheet: Sheet, strings: list[String], styles: list[CellStyle], since_1904: bool, behind: bool,
        colours: Colours, pictures: dict[str, str],
    ) -> None:  # fmt: skip
        self.sheet, self.strings, self.styles, self.since_1904 = sheet, strings, styles, since_1904
        self.behind, self.colours = behind, colours  # `behind`: cells have other grounds than their styles say
        self.pictures = pictures  # in cells, by what the cells call them
        # What a cell says, and what of it has the colour that its style gives its ground.
        self.pale: list[tuple[int, int, str, str]] = []
        self.filtered = False
        self.hidden: set[int] = set()
        self.row = -1

    def read(self, stream: IO[bytes]) -> None:
        import lxml.etree as etree

        for _, element in etree.iterparse(BytesIO(self.without_plain_rows(stream)), tag=_TAGS, **PARSING):
            tag = str(element.tag).rpartition("}")[2]
            if tag == "row":
                self.fill(element)
                forget(element)
            elif tag == "mergeCell":
                first, _, last = element.get("ref", "").partition(":")
                if (start := _place(first)) and (end := _place(last or first)):
                    self.sheet.merged.append((*start, *end))
            elif tag == "col":
                self.column(element)
            elif tag == "conditionalFormatting":
                self.behind = True
            else:
                self.filtered = True
        if not self.filtered:  # else the rows are hidden for the moment
            self.sheet.hidden_rows |= self.hidden
        for row, column, text, lost in self.pale:
            if self.behind:
                self.sheet.put(row, column, text)
            else:
                self.sheet.characters.leave(lost, SAME_COLOUR)

    def without_plain_rows(self, stream: IO[bytes]) -> bytes:
        left: list[bytes] = []
        held = b""
        while block := stream.read(_BLOCK):
            held += block
            end = held.rfind(b"</row>") + 6
            if end >= 6:
                left.append(_ROW.sub(self.fill_plain, held[:end]))
                held = held[end:]
        return b"".join([*left, held])

    def fill_plain(self, found: re.Match[bytes]) -> bytes:
        """Write a row if it is plain, of which nothing is left then; else leave it as it is."""
        number, about, content = found.groups()
        pieces = _CELL.split(content)
        if any(pieces[:: _CELL.groups + 1]):  # something between the cells
            return found[0]
        row = min(int(number), _MOST_ROWS) - 1
        if b'"' in about and _HIDDEN.search(about):
            self.hidden.add(row)
        cells: dict[int, str] = {}
        for at in range(1, len(pieces), _CELL.groups + 1):
            letters, style, kind, formula, value, inline = pieces[at : at + _CELL.groups]
            column = _column(letters.decode())
            raw = value if inline is None else inline
            if raw:
                text = html.unescape(raw.decode(errors="replace")) if b"&" in raw else raw.decode(errors="replace")
                cells[column] = self.shown((row, column), text, b"str" if inline is not None else kind, style)
            elif formula and kind != b"str":
                self.sheet.unreckoned.append((row, column))
        self.sheet.put_row(row, cells)
        return b""

    def column(self, element: "Element") -> None:
        first, last = element.get("min", ""), element.get("max", "")
        if _is_hidden(element) and first.isdecimal() and last.isdecimal():
            self.sheet.hidden_columns.update(range(int(first) - 1, min(int(last), _MOST_COLUMNS)))

    def fill(self, row: "Element") -> None:
        number = row.get("r", "")
        self.row = min(int(number), _MOST_ROWS) - 1 if number.isdecimal() and int(number) else self.row + 1
        if _is_hidden(row):
            self.hidden.add(self.row)
        column = -1
        cells: dict[int, str] = {}
        for cell in row:
            column = _column(cell.get("r", "").rstrip("0123456789")) if cell.get("r") else column + 1
            if text := self.value(cell, column):
                cells[column] = text
        self.sheet.put_row(self.row, cells)

    def value(self, cell: "Element", column: int) -> str:
        raw, formula, inline = "", False, None
        for child in cell:
            tag = str(child.tag).rpartition("}")[2]
            if tag == "v":
                raw = child.text or ""
            elif tag == "f":
                formula = True
            elif tag == "is":
                inline = child
        kind, style = cell.get("t", "n").encode(), cell.get("s", "0").encode()
        if kind == b"e" and cell.get("vm", "") in self.pictures:
            return self.pictures[cell.get("vm", "")]
        if inline is not None:
            return self.rich((self.row, column), string_of(inline, self.colours), self.look(style))
        if not raw and formula and kind != b"str":
            self.sheet.unreckoned.append((self.row, column))
        return self.shown((self.row, column), raw, kind, style) if raw else ""

    def shown(self, place: tuple[int, int], raw: str, kind: bytes | None, style: bytes | None) -> str:
        """What a cell of a kind and a style shows, as far as it is known by now."""
        look = self.look(style)
        if kind == b"s":
            known = raw.isdecimal() and int(raw) < len(self.strings)
            return self.rich(place, self.strings[int(raw)], look) if known else ""
        return self.seen(place, self.formatted(unescaped(raw) if kind == b"str" else raw, kind, look.code), look)

    def look(self, style: bytes | None) -> CellStyle:
        number = int(style) if style and style.isdigit() else 0
        return self.styles[number] if number < len(self.styles) else _PLAIN

    def rich(self, place: tuple[int, int], string: String, look: CellStyle) -> str:
        """What is seen of a string whose runs may have colours of their own."""
        if string.struck:
            self.sheet.characters.leave(string.struck, STRUCK)
        self.sheet.characters.leave(string.tiny, TINY)
        if string.sized and look.why == TINY:
            look = replace(look, why="")
        if not string.runs or look.why == STRUCK:
            return self.seen(place, self.formatted(string.text, b"str", look.code), look)
        pale = [alike(colour, look.ground) if stated else look.why == SAME_COLOUR for _, stated, colour in string.runs]
        if any(pale):
            lost = " ".join(text for (text, *_), gone in zip(string.runs, pale, strict=True) if gone)
            self.pale.append((*place, string.text, lost))
        return "".join(text for (text, *_), gone in zip(string.runs, pale, strict=True) if not gone)

    def seen(self, place: tuple[int, int], text: str, look: CellStyle) -> str:
        """A text, where one of such a look is seen as far as it is known by now."""
        if not look.why:
            return text
        if look.why == SAME_COLOUR:
            self.pale.append((*place, text, text))
        else:
            self.sheet.characters.leave(text, look.why)
        return ""

    def formatted(self, raw: str, kind: bytes | None, code: str) -> str:
        """What a cell says in its number format; what that does not show is counted."""
        text = self.written(raw, kind, code)
        if not text and raw and raw != "0":
            self.sheet.characters.leave(self.written(raw, kind, GENERAL), NOT_DISPLAYED)
        return text

    def written(self, raw: str, kind: bytes | None, code: str) -> str:
        """The text of a cell of a kind, no shared string, in a number format."""
        if kind == b"b" and code == CHECK_BOX:
            return TICKED if raw == "1" else UNTICKED
        if kind == b"b":
            return "TRUE" if raw == "1" else "FALSE"
        if kind == b"d":
            return raw.replace("T00:00:00", "").replace("T", " ").removesuffix("Z")
        if kind not in (None, b"n"):
            return raw if code == GENERAL or kind == b"e" else shown_text(raw, code)
        return _plain(raw) if code == GENERAL else _shown(raw, code, self.since_1904)


_PLAIN = CellStyle()
_shown = lru_cache(maxsize=20_000)(shown)


def _plain(raw: str) -> str:
    if raw.isdecimal() and raw[0] != "0":
        return raw
    if len(raw) < 12 and "." in raw and raw[-1] != "0":
        return raw
    try:
        return general(Decimal(raw))
    except InvalidOperation:
        return raw


def _is_hidden(element: "Element") -> bool:
    """Whether a row or column is hidden or has no size; in a group that is closed, too."""
    hidden = element.get("hidden") in ("1", "true")
    return hidden or bool(_NO_SIZE.fullmatch(element.get("width") or element.get("ht") or ""))


@lru_cache(maxsize=20_000)
def _column(letters: str) -> int:
    number = 0
    for letter in letters.replace("$", "").upper()[:3]:
        number = number * 26 + ord(letter) - 64
    return min(max(number, 1), _MOST_COLUMNS) - 1


def _place(name: str) -> tuple[int, int] | None:
    letters = name.replace("$", "").rstrip("0123456789")
    digits = name.replace("$", "")[len(letters) :]
    if not letters.isalpha() or not letters.isascii() or not digits:
        return None
    return min(int(digits[:8]), _MOST_ROWS) - 1, _column(letters)


def _comments(archive: ZipFile, members: dict[str, str], links: Sequence[tuple[str, str]], sheet: Sheet) -> None:
    """Comments and their answers; where both forms of one are there, the newer."""
    found = [member for kind, member in links if kind.endswith(_COMMENTS)]
    for member in sorted(found, key=lambda name: "thread" not in name):
        if member not in members:
            continue
        for comment in parse_xml(archive.read(members[member])).iter("{*}comment", "{*}threadedComment"):
            place = _place(comment.get("ref", ""))
            text = comment.find("{*}text")
            if place is None or text is None:
                continue
            words = (text.text or "").strip() or unescaped("".join(t.text or "" for t in text.iter("{*}t")))
            if not words.startswith(_THREADED):
                sheet.comment(*place, words)


def _boxes(
    archive: ZipFile, members: dict[str, str], links: Sequence[tuple[str, str]], sheet: Sheet, colours: Colours
) -> None:  # fmt: skip
    """What stands over the cells of a sheet: text boxes and shapes, titles of charts, whose numbers are the cells'."""
    drawings = [member for kind, member in links if kind.endswith("/drawing")]
    for drawing in drawings:
        if drawing not in members:
            continue
        root = parse_xml(transitional(archive.read(members[drawing])))
        leave_unseen(root, sheet.characters, swallowed=colours.swallows)
        for shape in shapes_in(root):
            lines = [clean("\n".join(body_lines(body))) for body in shape.iterfind("{*}txBody")]
            sheet.boxes += [line for line in lines if line] or alternative(shape)
        for kind, chart in _links(archive, members, drawing).values():
            if kind.endswith(("/chart", "/chartEx")) and chart in members:
                sheet.boxes += chart_titles(parse_xml(transitional(archive.read(members[chart]))))
    sheet.boxes = [box for box in sheet.boxes if box]
