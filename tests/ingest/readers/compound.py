"""Writes compound files (MS-CFB), the container of old Office files and Outlook messages."""

import struct

Tree = dict[str, "bytes | Tree"]
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound(tree: Tree) -> bytes:
    """A compound file of these streams and storages, without a mini stream."""
    entries: list[list[object]] = [["Root Entry", 5, _FREE, _FREE, b""]]  # name, type, next beside it, child, data
    _add(entries, 0, tree)
    sectors: list[bytes] = []
    table: list[int] = []
    starts: list[int] = []
    for entry in entries:
        starts.append(_store(sectors, table, entry[4]) if entry[4] else _END)  # type: ignore[arg-type]
    directory = b"".join(_entry(entry, start) for entry, start in zip(entries, starts, strict=True))
    first = _store(sectors, table, directory)
    count = next(n for n in range(1, 100) if (len(table) + n) * 4 <= n * 512)
    places = range(len(table), len(table) + count)
    table += [_FAT] * count
    table += [_FREE] * (count * 128 - len(table))
    head = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, count, first, 0, 0,
        _END, 0, _END, 0,
    ) + struct.pack("<109I", *places, *[_FREE] * (109 - count))  # fmt: skip
    return head + b"".join(sectors) + struct.pack(f"<{len(table)}I", *table)


def _add(entries: list[list[object]], parent: int, tree: Tree) -> None:
    before = 0
    for name, content in tree.items():
        number = len(entries)
        stored = isinstance(content, dict)
        entries.append([name, 1 if stored else 2, _FREE, _FREE, b"" if stored else content])
        entries[before or parent][2 if before else 3] = number
        before = number
        if isinstance(content, dict):
            _add(entries, number, content)


def _store(sectors: list[bytes], table: list[int], data: bytes) -> int:
    start = len(table)
    for at in range(0, len(data), 512):
        sectors.append(data[at : at + 512].ljust(512, b"\0"))
        table.append(len(table) + 1)
    table[-1] = _END
    return start


def _entry(entry: list[object], start: int) -> bytes:
    name, kind, beside, child, data = entry
    raw = str(name).encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII36xIQ", raw, len(raw) + 2, kind, 1, _FREE, beside, child, start, len(data)  # type: ignore[arg-type]
    )  # fmt: skip
