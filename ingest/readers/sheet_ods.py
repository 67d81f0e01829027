"""The sheets of an OpenDocument workbook: a cell holds its text as it is shown, beside its value.

Cells whose look depends on a condition count as seen. Source: OpenDocument 1.3, part 3, 9 (tables) and 19.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest.readers.alternative import informative
from ingest.readers.number_format import GENERAL, shown
from ingest.readers.opendocument_unseen import WHITE, Looks, Sight
from ingest.readers.raised import written
from ingest.readers.sheet import Sheet
from ingest.readers.text import clean

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_MOST_REPEATS = 2000  # of one filled row or cell, which a file states once with a count
_ROWS = frozenset(("table-header-rows", "table-rows", "table-row-group"))
_COLUMNS = frozenset(("table-header-columns", "table-columns", "table-column-group"))
_UNSEEN = ("collapse", "filter")
_DRAWN = ("{*}frame", "{*}custom-shape", "{*}rect", "{*}ellipse", "{*}circle", "{*}polygon", "{*}caption")
_PICTURES = frozenset(("image", "object", "object-ole"))


def sheets(content: "Element", styles: "Element | None" = None) -> Iterator[Sheet]:
    """The sheets of a content element in order; raises `ReadError` where one reaches too far."""
    looks = Looks(content, styles)
    hidden = {
        _attribute(style, "name")
        for style in content.iterfind("{*}automatic-styles/{*}style")
        for about in style.iterfind("{*}table-properties")
        if _attribute(about, "display") == "false"
    }
    for table in content.iterfind("{*}body/{*}spreadsheet/{*}table"):
        sheet = Sheet(_attribute(table, "name"), _attribute(table, "style-name") in hidden)
        if not sheet.hidden:
            column = 0
            filling = _Filling(sheet, looks, table)
            for about in _children(table, "table-column", _COLUMNS):
                count = _count(about, "number-columns-repeated", 16_384)
                if _attribute(about, "visibility") in _UNSEEN:
                    sheet.hidden_columns.update(range(column, column + count))
                filling.columns.append((column + count, _attribute(about, "default-cell-style-name")))
                column = min(column + count, 16_384)
            number = 0
            for row in _children(table, "table-row", _ROWS):
                number = filling.fill(row, number)
            sheet.boxes = [box for drawn in table.iter(*_DRAWN) if (box := _drawn(drawn, looks, sheet))]
        yield sheet


class _Filling:
    """Fills a sheet from the rows of its table."""

    def __init__(self, sheet: Sheet, looks: Looks, table: "Element") -> None:
        self.sheet, self.looks = sheet, looks
        self.columns: list[tuple[int, str]] = []  # the column after those that share a style, and that style
        self.conditions = next(table.iter("{*}conditional-format"), None) is not None

    def fill(self, row: "Element", number: int) -> int:
        """Write a row; the number of the one that follows."""
        sheet = self.sheet
        count = _count(row, "number-rows-repeated", 1_048_576)
        cells: list[tuple[int, str]] = []
        column = 0
        for cell in row:
            if _tag(cell) not in ("table-cell", "covered-table-cell"):
                continue
            repeats = _count(cell, "number-columns-repeated", 16_384)
            covered = _tag(cell) == "covered-table-cell"
            text = "" if covered else "\n".join(self.lines(cell, row, column))
            if text:
                cells += [(column + i, text) for i in range(min(repeats, _MOST_REPEATS))]
            elif not covered and _attribute(cell, "formula") and not _attribute(cell, "value-type"):
                sheet.unreckoned.append((number, column))
            down, right = _count(cell, "number-rows-spanned", 1_048_576), _count(cell, "number-columns-spanned", 16_384)
            if not covered and down * right > 1:
                sheet.merged.append((number, column, number + down - 1, column + right - 1))
            for note in cell.iterchildren("{*}annotation"):
                sheet.comment(number, column, "\n".join("".join(p.itertext()) for p in note.iterchildren("{*}p")))
            column += repeats
        filled = min(count, _MOST_REPEATS) if cells else 0
        for repeat in range(filled):
            for place, text in cells:
                sheet.put(number + repeat, place, text)
        if _attribute(row, "visibility") == "collapse":
            sheet.hidden_rows.update(range(number, number + filled))
        return number + count

    def lines(self, cell: "Element", row: "Element", column: int) -> Iterator[str]:
        """The lines of a cell as far as they are seen; the rest is counted, once for a cell that is repeated."""
        paragraphs = [*cell.iterchildren("{*}p")]
        if not paragraphs:
            yield _value(cell)
            return
        style = _attribute(cell, "style-name") or _attribute(row, "default-cell-style-name")
        style = style or next((name for end, name in self.columns if column < end), "")
        unsure = self.conditions or self.looks.depends("table-cell", style)
        sight = None if unsure else Sight.of_cell(self.looks, self.sheet.characters, style)
        for paragraph in paragraphs:
            yield written(_flow(paragraph, sight))


def _value(cell: "Element") -> str:
    """The value of a cell whose file says not how it is shown."""
    kind, raw = _attribute(cell, "value-type"), _attribute(cell, "value")
    if kind == "percentage":
        return shown(raw, "0.##%")
    if kind == "boolean":
        return _attribute(cell, "boolean-value").upper()
    if raw:
        return f"{shown(raw, GENERAL)} {_attribute(cell, 'currency')}".strip()
    for name in ("string-value", "date-value", "time-value"):
        if stated := _attribute(cell, name):
            return stated.replace("T00:00:00", "").replace("T", " ") if name == "date-value" else stated
    return ""


def _drawn(drawn: "Element", looks: Looks, sheet: Sheet) -> str:
    """What a shape over the cells says: its text, or what somebody wrote of a picture for those who cannot see it."""
    paragraphs = [*drawn.iterchildren("{*}p"), *(p for box in drawn.iterchildren("{*}text-box") for p in box)]
    lines = (
        written(_flow(p, Sight.of_paragraph(looks, sheet.characters, WHITE, p)))
        for p in paragraphs
        if _tag(p) in ("p", "h")
    )
    if text := clean("\n".join(line for line in lines if line.strip())):
        return text
    if _attribute(drawn, "decorative") == "true" or not any(_tag(child) in _PICTURES for child in drawn):
        return ""
    said = (
        informative("".join(about.itertext())) for tag in ("{*}desc", "{*}title") for about in drawn.iterchildren(tag)
    )
    return next((text for text in said if text), "")


def _flow(node: "Element", sight: Sight | None, height: str = "") -> Iterator[tuple[str, str]]:
    """The texts of a paragraph, each with its height."""
    yield _seen(node.text, sight), height
    for child in node:
        tag = _tag(child)
        if tag in ("s", "tab", "line-break"):
            yield " ", ""
        elif tag not in ("annotation", "ruby-text", "frame", "custom-shape"):  # shapes are read apart
            within = sight.within(child) if sight and tag == "span" else sight
            yield from _flow(child, within, within.height if within else height)
        yield _seen(child.tail, sight), height


def _seen(text: str | None, sight: Sight | None) -> str:
    return sight.passes(text or "") if sight else text or ""


def _children(parent: "Element", tag: str, within: frozenset[str]) -> "Iterator[Element]":
    for child in parent:
        if _tag(child) == tag:
            yield child
        elif _tag(child) in within:
            yield from _children(child, tag, within)


def _tag(element: "Element") -> str:
    return str(element.tag).rpartition("}")[2]


def _attribute(element: "Element", name: str) -> str:
    return next((value for key, value in element.attrib.items() if str(key).endswith(f"}}{name}")), "")


def _count(element: "Element", name: str, most: int) -> int:
    value = _attribute(element, name)
    return max(1, min(int(value), most)) if value.isdecimal() and len(value) < 10 else 1
