"""Writes compound files (MS-CFB), the container of old Office files and Outlook messages."""

import struct
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]  # name -> the bytes of a stream, or the tree of a storage
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_CUTOFF = 4096  # smaller streams lie in blocks of 64 bytes within the stream of the root


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    beside: int = _FREE
    child: int = _FREE
    start: int = _END


def compound(tree: Tree) -> bytes:
    """A compound file of these streams and storages."""
    entries = [_Entry("Root Entry", 5)]
    _add(entries, 0, tree)
    sectors: list[bytes] = []
    table: list[int] = []
    small: list[bytes] = []
    small_table: list[int] = []
    for entry in entries[1:]:
        if len(entry.data) >= _CUTOFF:
            entry.start = _store(sectors, table, entry.data, 512)
        else:
            entry.start = _store(small, small_table, entry.data, 64)
    entries[0].data = b"".join(small)
    entries[0].start = _store(sectors, table, entries[0].data, 512)
    small_fat = struct.pack(f"<{len(small_table)}I", *small_table).ljust(-len(small_table) // 128 * -512, b"\xff")
    first_small = _store(sectors, table, small_fat, 512)
    first = _store(sectors, table, b"".join(map(_packed, entries)), 512)
    count = next(n for n in range(1, 100) if len(table) + n <= n * 128)
    places = range(len(table), len(table) + count)
    table += [_FAT] * count
    table += [_FREE] * (count * 128 - len(table))
    head = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, count, first, 0,
        _CUTOFF, first_small, len(small_fat) // 512, _END, 0,
    )  # fmt: skip
    head += struct.pack("<109I", *places, *[_FREE] * (109 - count))
    return head + b"".join(sectors) + struct.pack(f"<{len(table)}I", *table)


def _add(entries: list[_Entry], parent: int, tree: Tree) -> None:
    before = 0
    for name, content in tree.items():
        number = len(entries)
        entries.append(_Entry(name, 2, content) if isinstance(content, bytes) else _Entry(name, 1))
        if before:
            entries[before].beside = number
        else:
            entries[parent].child = number
        before = number
        if not isinstance(content, bytes):
            _add(entries, number, content)


def _store(sectors: list[bytes], table: list[int], data: bytes, size: int) -> int:
    if not data:
        return _END
    start = len(table)
    for at in range(0, len(data), size):
        sectors.append(data[at : at + size].ljust(size, b"\0"))
        table.append(len(table) + 1)
    table[-1] = _END
    return start


def _packed(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le")
    numbers = (_FREE, entry.beside, entry.child, entry.start, len(entry.data))
    return struct.pack("<64sHBBIII36xIQ", name, len(name) + 2, entry.kind, 1, *numbers)
