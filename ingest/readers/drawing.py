"""Charts and SmartArt, which Office keeps in parts of their own -> lines (ISO/IEC 29500-1, 21.2 and 21.4)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest.readers.grid import plain_table
from ingest.readers.number_format import shown
from ingest.readers.text import collapse

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_CX = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
_DGM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_MOST_POINTS = 2000
_DEEPEST = 20


def chart_lines(root: "Element") -> list[str]:
    """The title of a chart and of its axes, then a table: a row a category, a column a series."""
    if root.tag == f"{_CX}chartSpace":
        return _newer_chart(root)
    lines = chart_titles(root)
    series = [each for each in root.iter(f"{_C}ser")]
    names = [_series_name(each, number) for number, each in enumerate(series, start=1)]
    points: dict[int, str] = {}
    for each in series:
        for name in ("cat", "xVal"):
            points |= {i: said for i, said in _points(each.find(f"{_C}{name}")).items() if i not in points}
    columns = [_points(each.find(f"{_C}val")) or _points(each.find(f"{_C}yVal")) for each in series]
    for name, each in zip(tuple(names), series, strict=True):
        if sizes := _points(each.find(f"{_C}bubbleSize")):
            names.append(f"{name}: size")
            columns.append(sizes)
    places = sorted({i for column in columns for i in column} | points.keys())[:_MOST_POINTS]
    if not any(columns):
        return lines
    rows = [["", *names], *([points.get(i, ""), *(column.get(i, "") for column in columns)] for i in places)]
    return ["", *lines, *plain_table(rows), ""]


def chart_titles(root: "Element") -> list[str]:
    """The titles of a chart and of its axes."""
    return [line for title in root.iter(f"{_C}title", f"{_CX}title") if (line := _rich(title))]


def _newer_chart(root: "Element") -> list[str]:
    """A chart of Office 2016 (tree map, waterfall, funnel): its title, then a table for each set of data."""
    lines = chart_titles(root)
    for data in root.iter(f"{_CX}data"):
        columns: list[dict[int, str]] = []
        for level in data.iter(f"{_CX}lvl"):
            points = level.iterfind(f"{_CX}pt")
            columns.append({int(at): collapse(point.text or "") for point in points
                            if (at := point.get("idx", "")).isdecimal() and len(at) < 7})  # fmt: skip
        places = sorted({place for column in columns for place in column})[:_MOST_POINTS]
        lines += ["", *(" | ".join(filter(None, (column.get(at, "") for column in columns))) for at in places)]
    return lines


def _rich(title: "Element") -> str:
    texts = [text.text or "" for text in title.iter(f"{_A}t")] or [text.text or "" for text in title.iter(f"{_C}v")]
    return collapse("".join(texts))


def _series_name(series: "Element", number: int) -> str:
    stated = series.find(f"{_C}tx")
    texts = [text.text or "" for text in stated.iter(f"{_C}v")] if stated is not None else []
    return collapse(" ".join(texts)) or f"series {number}"


def _points(source: "Element | None") -> dict[int, str]:
    """The cached values of a series by their place; of names in several levels the inner one comes last."""
    if source is None:
        return {}
    levels = [*source.iter(f"{_C}lvl")]
    if levels:
        return _nested(levels)
    code = next((element.text or "" for element in source.iter(f"{_C}formatCode")), "General")
    found: dict[int, str] = {}
    for point in source.iter(f"{_C}pt"):
        place = point.get("idx", "")
        if place.isdecimal() and len(place) < 7:
            found[int(place)] = shown(collapse(point.findtext(f"{_C}v") or ""), point.get("formatCode") or code)
    return found


def _nested(levels: "list[Element]") -> dict[int, str]:
    """Names in levels, the inner one stated first: `2024 Q1`; an outer one holds until the next."""
    inner = {int(point.get("idx", "0")): collapse(point.findtext(f"{_C}v") or "")
             for point in levels[0].iterfind(f"{_C}pt") if point.get("idx", "").isdecimal()}  # fmt: skip
    for level in levels[1:]:
        outer = {int(point.get("idx", "0")): collapse(point.findtext(f"{_C}v") or "")
                 for point in level.iterfind(f"{_C}pt") if point.get("idx", "").isdecimal()}  # fmt: skip
        last = ""
        for place in sorted(inner):
            last = outer.get(place, last)
            inner[place] = f"{last} {inner[place]}".strip()
    return inner


def diagram_lines(root: "Element") -> list[str]:
    """The words of SmartArt as a list, each below what it hangs on."""
    points = {point.get("modelId", ""): point for point in root.iter(f"{_DGM}pt")}
    below: dict[str, list[tuple[int, str]]] = {}
    for link in root.iter(f"{_DGM}cxn"):
        if link.get("type", "parOf") == "parOf":
            order = link.get("srcOrd", "0")
            place = int(order) if order.isdecimal() else 0
            below.setdefault(link.get("srcId", ""), []).append((place, link.get("destId", "")))
    top = next((key for key, point in points.items() if point.get("type") == "doc"), "")
    seen: set[str] = set()
    lines = [*_hanging(top, points, below, seen, 0)]
    for key, point in points.items():  # what hangs on nothing
        if key not in seen and (text := _words(point)):
            lines.append(f"- {text}")
    return lines


def _hanging(
    key: str, points: "dict[str, Element]", below: dict[str, list[tuple[int, str]]], seen: set[str], depth: int
) -> Iterator[str]:
    for _, child in sorted(below.get(key, ())):
        if child in seen or child not in points or depth > _DEEPEST:
            continue
        seen.add(child)
        if text := _words(points[child]):
            yield f"{'  ' * depth}- {text}"
        yield from _hanging(child, points, below, seen, depth + 1)


def _words(point: "Element") -> str:
    return collapse(" ".join("".join(text.text or "" for text in line.iter(f"{_A}t")) for line in point.iter(f"{_A}p")))
