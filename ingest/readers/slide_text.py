"""The text of shapes on a slide, in the order in which they were drawn (ISO/IEC 29500-1, 20.1 and 21.1: DrawingML).

The tree itself is walked: python-pptx does not list a shape that comes in several forms, as every one with an equation.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from ingest.readers.alternative import picture_text
from ingest.readers.drawing import chart_lines, diagram_lines
from ingest.readers.equations import linear
from ingest.readers.grid import Cell, markdown_table
from ingest.readers.numerals import numeral
from ingest.readers.raised import lowered, raised
from ingest.readers.text import collapse
from ingest.readers.unseen import NOT_DISPLAYED, OUTSIDE, SAME_COLOUR, STRUCK, TINY, TRANSPARENT, Unseen

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
TITLES = frozenset(("title", "ctrTitle"))
FOOTER, UNREAD = "ftr", frozenset(("dt", "sldNum", "hdr", "sldImg"))
_NUMBERING = {
    "arabic": "decimal", "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman",
    "romanUc": "upperRoman", "circleNum": "decimalEnclosedCircle", "ea1Chs": "chineseCountingThousand",
    "ea1Cht": "chineseCountingThousand", "ea1Jpn": "chineseCountingThousand",
}  # fmt: skip
_ENDS = {"ParenBoth": "({})", "ParenR": "{})", "Period": "{}.", "Minus": "- {} -"}
_MOST_SPAN = 300
_TINY = 100  # hundredths of a point
_FAINT = 0.05  # of a colour
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"

Part = Callable[[str], "Element | None"]  # the root of the part that a relationship leads to


def name_of(element: "Element") -> str:
    """The name of an element without its namespace; empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def shapes_in(tree: "Element") -> "Iterator[Element]":
    """The shapes of a slide, or of the anchors over a sheet, with those in groups; of several forms of one the first
    that is not empty.
    """
    for child in tree:
        name = name_of(child)
        if name == "grpSp" or name.endswith("Anchor"):
            yield from shapes_in(child)
        elif name == "AlternateContent":
            yield from shapes_in(next((branch for branch in child if len(branch)), child))
        elif name in ("sp", "graphicFrame", "cxnSp", "pic"):
            yield child


def leave_unseen(
    tree: "Element", unseen: Unseen, outside: "Iterable[Element]" = (),
    swallowed: "Callable[[Element], bool]" = lambda _: False,
) -> None:  # fmt: skip
    """Empty the text of shapes hidden or `outside`, and what is struck out, tiny, without fill or of the colour that
    its own shape or cell is filled with, or `swallowed` by what lies behind it; count it.
    """
    texts: list[Element] = []
    for shape in outside:
        texts += shape.iter(f"{_DRAWING}t")
        for about in shape.iter("{*}cNvPr"):
            about.attrib.pop("descr", None)
            about.attrib.pop("title", None)
    runs: dict[str, list[Element]] = {NOT_DISPLAYED: [], OUTSIDE: [*texts]}
    runs |= {TINY: [], TRANSPARENT: [], SAME_COLOUR: [], STRUCK: []}
    for about in tree.iter("{*}cNvPr"):
        if about.get("hidden") in ("1", "true"):
            runs[NOT_DISPLAYED] += about.getparent().getparent().iter(f"{_DRAWING}t")
    for look in tree.iter(f"{_DRAWING}rPr"):
        points = look.get("sz", "")
        why = TINY if points.isdecimal() and int(points) <= _TINY else ""
        if _is_clear(look):
            why = TRANSPARENT
        marked = look.find(f"{_DRAWING}highlight") is not None
        colour = _fill(look)
        if colour and not marked and (colour == _fill_around(look) or swallowed(look)):
            why = SAME_COLOUR
        if look.get("strike", "noStrike") != "noStrike":
            why = STRUCK
        if why:
            runs[why] += look.getparent().iter(f"{_DRAWING}t")
    for why, found in runs.items():
        for text in found:
            unseen.leave(text.text or "", why)
            text.text = ""


def _is_clear(look: "Element") -> bool:
    """Whether the letters of a run let all through that lies below them."""
    if look.find(f"{_DRAWING}noFill") is not None:
        return look.find(f"{_DRAWING}ln") is None
    return any(_alpha(part) < _FAINT for part in look.iterfind(f"{_DRAWING}solidFill/*/{_DRAWING}alpha"))


def _alpha(stated: "Element") -> float:
    """How much of a colour covers what lies below it, of 1: thousandths of a percent, or a percentage."""
    value = stated.get("val", "")
    number = value.removesuffix("%")
    if not number.isdecimal():
        return 1.0
    return int(number) / (100 if value.endswith("%") else 100_000)


def _fill(of: "Element | None") -> tuple[tuple[str, ...], ...]:
    """The colour that something is filled with as it is stated; empty where it is not, or lets others shine through."""
    stated = of.find(f"{_DRAWING}solidFill") if of is not None else None
    parts = [*stated.iter()][1:] if stated is not None else []
    if any(name_of(part) == "alpha" for part in parts):
        return ()
    return tuple((name_of(part), part.get("val", "").upper(), part.get("lastClr", "")) for part in parts)


def _fill_around(look: "Element") -> tuple[tuple[str, ...], ...]:
    """The colour of the shape, or of the cell of a table, in which a run stands."""
    for around in look.iterancestors("{*}tc", "{*}sp"):
        return _fill(around.find("{*}tcPr" if name_of(around) == "tc" else "{*}spPr"))
    return ()


def placeholder(shape: "Element") -> str | None:
    """The kind of place of the layout that a shape fills; None where it fills none."""
    place = next(shape.iterfind("{*}nvSpPr/{*}nvPr/{*}ph"), None)
    return None if place is None else place.get("type", "obj")


def shape_lines(shape: "Element", part: Part) -> list[str]:
    """The lines of a shape: its alternative text, and its text, its table, its chart or its diagram."""
    if name_of(shape) == "graphicFrame":
        return alternative(shape) + _frame_lines(shape, part)
    body = next(shape.iterfind("{*}txBody"), None)
    lines = body_lines(body) if body is not None else []
    return lines or alternative(shape)


def alternative(shape: "Element") -> list[str]:
    """What somebody wrote of a shape for those who cannot see it."""
    about = next(shape.iterfind("{*}*/{*}cNvPr"), None)
    said = picture_text(about) if about is not None else ""
    return [said] if said else []


def _frame_lines(frame: "Element", part: Part) -> list[str]:
    data = next(frame.iter("{*}graphicData"), None)
    for child in data if data is not None else ():
        name = name_of(child)
        if name == "tbl":
            return ["", *markdown_table(map(_row, child.iterfind("{*}tr"))), ""]
        if name in ("chart", "relIds"):
            root = part(child.get(f"{_R}{'id' if name == 'chart' else 'dm'}", ""))
            return [] if root is None else (chart_lines if name == "chart" else diagram_lines)(root)
    return []


def _row(row: "Element") -> list[Cell]:
    cells: list[Cell] = []
    for cell in row.iterfind("{*}tc"):
        if cell.get("hMerge") in ("1", "true") or cell.get("vMerge") in ("1", "true"):
            continue  # covered by another
        body = next(cell.iterfind("{*}txBody"), None)
        text = "\n".join(body_lines(body)) if body is not None else ""
        cells.append(Cell(text, _span(cell, "gridSpan"), _span(cell, "rowSpan")))
    return cells


def _span(cell: "Element", name: str) -> int:
    value = cell.get(name, "1")
    return min(max(int(value), 1), _MOST_SPAN) if value.isdecimal() and len(value) < 6 else 1


def body_lines(body: "Element") -> list[str]:
    """The paragraphs of a text, each with the number that the program writes before it; empty ones are left out."""
    lines: list[str] = []
    counts: dict[int, tuple[str, int]] = {}  # level -> kind of numbering, last number
    for paragraph in body.iterfind("{*}p"):
        text = _paragraph(paragraph)
        if not text.strip():
            continue
        about = paragraph.find("{*}pPr")
        stated = about.get("lvl", "0") if about is not None else "0"
        level = int(stated) if stated.isdecimal() and len(stated) < 3 else 0
        counts = {above: count for above, count in counts.items() if above <= level}
        lines.append(_number(about, level, counts) + text.strip())
    return lines


def _number(about: "Element | None", level: int, counts: dict[int, tuple[str, int]]) -> str:
    automatic = about.find("{*}buAutoNum") if about is not None else None
    if automatic is None:
        counts.pop(level, None)
        return ""
    kind, start = automatic.get("type", "arabicPeriod"), automatic.get("startAt", "1")
    before = counts.get(level)
    first = int(start) if start.isdecimal() and len(start) < 6 else 1
    number = before[1] + 1 if before and before[0] == kind else first
    counts[level] = (kind, number)
    form = next((form for prefix, form in _NUMBERING.items() if kind.startswith(prefix)), "decimal")
    end = next((end for suffix, end in _ENDS.items() if kind.endswith(suffix)), "{}")
    return end.format(numeral(number, form)) + " "


def _paragraph(paragraph: "Element") -> str:
    pieces: list[str] = []
    held, height = "", 0
    for child in (*paragraph, None):
        name = name_of(child) if child is not None else ""
        properties = child.find("{*}rPr") if child is not None else None
        baseline = properties.get("baseline", "0").rstrip("%") if properties is not None else "0"
        up = 0 if baseline.strip("-0") == "" else -1 if baseline.startswith("-") else 1
        if held and up != height:
            pieces.append((raised if height > 0 else lowered)("".join(pieces[-4:])[-60:], held))
            held = ""
        text = _run(child, name) if child is not None else ""
        if up and text.strip():
            held, height = held + text, up
        else:
            pieces.append(text)
    return "".join(pieces)


def _run(child: "Element", name: str) -> str:
    if name == "br":
        return "\n"
    if name == "m":  # what an equation is wrapped in, no matrix
        return " ".join(map(linear, child))
    if name == "AlternateContent":
        branch = next((branch for branch in child if len(branch)), child)
        return "".join(_run(inner, name_of(inner)) for inner in branch)
    if name in ("r", "fld"):
        return child.findtext("{*}t") or ""
    return ""


def title_of(shapes: "list[Element]") -> str:
    """The title of a slide, on one line."""
    found = next((shape for shape in shapes if placeholder(shape) in TITLES), None)
    body = next(found.iterfind("{*}txBody"), None) if found is not None else None
    return collapse("\n".join(body_lines(body))) if body is not None else ""
