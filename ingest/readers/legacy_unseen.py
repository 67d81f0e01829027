"""What the characters of an old Word document look like, as far as it decides whether somebody sees them.

Only what is stated at the characters themselves counts, not what their styles say; and white text only in ordinary
paragraphs without a shading, outside of tables and boxes: of others the ground is not known.
Source: MS-DOC 2.4.6.2 (direct character formatting), 2.6.1 (character properties), 2.9.33 (pages of them).
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.readers.unseen import DELETED, NOT_DISPLAYED, SAME_COLOUR, STRUCK, TINY, WHITE, alike

_OPERAND = (1, 1, 2, 4, 2, 2, 0, 3)  # bytes of a property's value by the top bits of its number; 0: stated
_DELETED, _STRUCK, _HIDDEN, _TWICE = 0x0800, 0x0837, 0x083C, 0x2A53
_COLOUR_NUMBER, _SIZE, _COLOUR = 0x2A42, 0x4A43, 0x6870
_GROUNDS = (0x2A0C, 0x4866, 0xCA71)  # highlight, shading
_ON = (b"\x01", b"\x81")  # or not as its style, which is taken for seen
_WHITE_NUMBER = 8
_TINY = 2  # half points
_REASONS = ((_HIDDEN, NOT_DISPLAYED), (_DELETED, DELETED), (_STRUCK, STRUCK), (_TWICE, STRUCK))


@dataclass(frozen=True, slots=True)
class Run:
    """Characters from one offset of the stream to another: why nobody sees them, and whether nobody does on white."""

    start: int
    end: int
    why: str
    on_white: bool


def changes(values: bytes) -> dict[int, bytes]:
    """Properties by their numbers, as they stand one behind the other (MS-DOC 2.2.5.1)."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 3 <= len(values):
        key = int.from_bytes(values[at : at + 2], "little")
        length = (
            _OPERAND[key >> 13]
            or (int.from_bytes(values[at + 2 : at + 4], "little") if key == 0xD608 else values[at + 2]) + 1
        )
        found[key] = values[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def runs(main: bytes, table: bytes) -> list[Run]:
    """The runs of which some or all are not seen, in the order of their offsets."""
    at, size = struct.unpack_from("<II", main, 0xFA)
    count = (size - 4) // 8
    if count < 1 or at + size > len(table):
        return []
    found: list[Run] = []
    for page in struct.unpack_from(f"<{count}I", table, at + 4 * (count + 1)):
        block = main[(page & 0x3FFFFF) * 512 :][:512]
        if len(block) == 512:
            found += _of_page(block)
    return sorted(found, key=lambda run: run.start)


def _of_page(block: bytes) -> Iterator[Run]:
    number = min(block[511], 101)
    for i in range(number):
        start, end = struct.unpack_from("<II", block, 4 * i)
        place = 2 * block[4 * (number + 1) + i]
        if place:
            said = changes(block[place + 1 : place + 1 + block[place]])
            why, white = _why(said), _is_white(said)
            if why or white:
                yield Run(start, end, why, white)


def _why(said: dict[int, bytes]) -> str:
    for key, why in _REASONS:
        if said.get(key) in _ON:
            return why
    return TINY if 0 < int.from_bytes(said.get(_SIZE, b""), "little") <= _TINY else ""


def _is_white(said: dict[int, bytes]) -> bool:
    if any(key in said for key in _GROUNDS):
        return False
    if _COLOUR in said:
        red, green, blue, automatic = said[_COLOUR].ljust(4, b"\0")
        return not automatic and alike((red / 255, green / 255, blue / 255), WHITE)
    return said.get(_COLOUR_NUMBER) == bytes((_WHITE_NUMBER,))


def within(found: list[Run], offset: int, width: int, length: int) -> Iterator[tuple[int, int, Run]]:
    """Of a piece of text at an offset, the characters (from, to) that lie in each of the runs."""
    first = max(bisect_right(found, offset, key=lambda run: run.start) - 1, 0)
    for run in found[first:]:
        if run.start >= offset + length * width:
            return
        start, end = (min(max(at - offset, 0) // width, length) for at in (run.start, run.end))
        if start < end:
            yield start, end, run


def reason(run: Run, on_white: bool) -> str:
    """Why a run is left out; "" where it is seen."""
    return run.why or (SAME_COLOUR if on_white and run.on_white else "")
