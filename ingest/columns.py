"""Tables in Markdown's form that are longer than a chunk name their columns again, so that each chunk of them does.

The names are repeated in the text of the document itself: a chunk stays a slice of it. Where names are too long to be
repeated, each row is written as `Column: value | Column: value`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from core.config import IngestConfig
from core.types import Document, Section

_TABLE = re.compile(
    r"^(?P<names>[^\S\n]*\|[^\n]*\|[^\S\n]*)\n(?P<rule>[^\S\n]*\|(?:[^\S\n]*:?-+:?[^\S\n]*\|)+[^\S\n]*)\n"
    r"(?P<rows>(?:[^\S\n]*\|[^\n]*(?:\n|\Z))+)",
    re.M,
)
_CELL = re.compile(r"(?<!\\)\|")
_SHARE = 2  # names take no more than one part in so many of the room
_LEAST = 200  # characters: a shorter table is never cut


def name_columns(document: Document, cfg: IngestConfig, count_tokens: Callable[[str], int]) -> Document:
    """The document with the names of columns before every half chunk of a long table."""
    if "\n|" not in document.text and not document.text.startswith("|"):
        return document
    room = cfg.chunk_tokens // 2  # pieces of even size are no smaller
    pieces: list[str] = []
    sections: list[Section] = []
    end = grown = 0
    for section in document.sections:
        start = section.start + grown
        for found in _TABLE.finditer(document.text, section.start, section.end):
            if len(found[0]) < _LEAST or count_tokens(found[0]) <= room:
                continue
            table = "\n\n".join(_parts(found["names"], found["rule"], found["rows"].splitlines(), room, count_tokens))
            apart = found.start() == section.start or document.text.endswith("\n\n", 0, found.start())
            pieces += [document.text[end : found.start()], "" if apart else "\n", table, "\n"]
            grown += (not apart) + len(table) + 1 - len(found[0])
            end = found.end()
        sections.append(replace(section, start=start, end=section.end + grown))
    if not pieces:
        return document
    return replace(document, text="".join([*pieces, document.text[end:]]), sections=tuple(sections))


def _parts(names: str, rule: str, rows: Sequence[str], room: int, count_tokens: Callable[[str], int]) -> Iterator[str]:
    head = f"{names}\n{rule}"
    own = count_tokens(head)
    if own * _SHARE > room:
        yield head
        labels = _cells(names)
        yield from (_record(labels, _cells(row)) for row in rows)
        return
    part, size = [head], own
    for row in rows:
        tokens = count_tokens(row) + 1
        if size + tokens > room and len(part) > 1:
            yield "\n".join(part)
            part, size = [head], own
        if own + tokens > room:
            yield _record(_cells(names), _cells(row))
            continue
        part.append(row)
        size += tokens
    if len(part) > 1:
        yield "\n".join(part)


def _record(labels: Sequence[str], cells: Sequence[str]) -> str:
    named = [f"{label}: {cell}" if label else cell for label, cell in zip(labels, cells, strict=False) if cell]
    return " | ".join([*named, *filter(None, cells[len(labels) :])])


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in _CELL.split(row.strip().removeprefix("|").removesuffix("|"))]
