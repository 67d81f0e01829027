"""PowerPoint 97 files built by hand."""

import struct

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.legacy_slides import read_ppt
from tests.ingest.readers.compound import compound

CFG = IngestConfig()


def record(kind: int, data: bytes, instance: int = 0) -> bytes:
    return struct.pack("<HHI", instance << 4, kind, len(data)) + data


def container(kind: int, *records: bytes, instance: int = 0) -> bytes:
    return struct.pack("<HHI", instance << 4 | 15, kind, len(b"".join(records))) + b"".join(records)


def text(kind: int, words: str) -> bytes:
    atom = record(0xFA8, words.encode("latin-1")) if words.isascii() else record(0xFA0, words.encode("utf-16-le"))
    return record(0xF9F, struct.pack("<I", kind)) + atom


def persist(key: int, number: int) -> bytes:
    return record(0x3F3, struct.pack("<IIiII", key, 0, 0, number, 0))


def box(*texts: bytes) -> bytes:
    return container(0x40C, container(0xF002, container(0xF004, container(0xF00D, *texts))))


def presentation(token: int = 0xE391C05F, shown: bytes = b"") -> bytes:
    """Two slides and a note to the first; an edit appended later replaced the second slide."""
    slides = container(
        0xFF0,
        persist(2, 256),
        text(0, "差旅制度"),
        text(1, "five\rdays"),
        persist(3, 257),
        text(1, "outline"),
        instance=0,
    )
    objects = {
        1: container(0x3E8, slides, container(0xFF0, persist(4, 300), instance=2)),
        2: container(0x3EE, shown, box(text(4, "in a box"), text(4, "*"))),
        3: container(0x3EE, box(text(4, "old words"))),
        4: container(0x3F0, record(0x3F1, struct.pack("<III", 256, 0, 0)), box(text(2, "spoken"), text(4, "*"))),
    }
    stream = b""
    places = {}
    for key, data in objects.items():
        places[key] = len(stream)
        stream += data
    edit = 0
    for keys, start in (([1, 2, 3, 4], 0), ([3], len(stream))):
        if start:
            places[3] = len(stream)
            stream += container(0x3EE, box(text(4, "new words")))
        directory = len(stream)
        run = struct.pack("<I", len(keys) << 20 | keys[0]) + b"".join(struct.pack("<I", places[key]) for key in keys)
        stream += record(0x1772, run)
        last, edit = edit, len(stream)
        stream += record(0xFF5, struct.pack("<IIIIIII", 0, 0, last, directory, 1, 5, 0))
    user = record(0xFF6, struct.pack("<III", 20, token, edit))
    return compound({"PowerPoint Document": stream, "Current User": user})


def test_slides_have_titles_outline_boxes_and_notes_of_the_newest_edit() -> None:
    document = read_ppt(presentation(), CFG)
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (1, ("差旅制度",), "差旅制度\nfive\ndays\nin a box\n\nspoken"),
        (2, (), "outline\nnew words"),
    ]
    assert (document.title, document.pages) == ("差旅制度", 2)


def test_a_hidden_slide_is_left_out_and_named() -> None:
    for flags, hidden in ((0x0005, True), (0x0001, False)):
        shown = record(0x3F9, struct.pack("<IIBBH4x", 0, 0, 0, 0, flags))
        document = read_ppt(presentation(shown=shown), CFG)
        assert [section.page for section in document.sections] == ([2] if hidden else [1, 2])
        assert document.pages == 2
        assert document.notes == (("hidden slides were left out: 1",) if hidden else ())
        assert ("in a box" in document.text) != hidden


def test_a_password_is_an_error() -> None:
    with pytest.raises(ReadError, match="password"):
        read_ppt(presentation(token=0xF3D1C4DF), CFG)


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(ReadError, match="not a PowerPoint file"):
        read_ppt(b"words", CFG)
