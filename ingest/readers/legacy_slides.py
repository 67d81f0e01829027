"""PowerPoint presentations of 1997 to 2003 (MS-PPT) -> text, a page a slide."""

import struct
from collections.abc import Iterator

from core.config import IngestConfig
from core.types import Document
from ingest.readers.legacy import OLE, convert, property_title, read_other
from ingest.readers.package import locked, read_stream
from ingest.readers.slides import read_pptx
from ingest.readers.text import Part, assemble, clean, collapse

_SLIDE_LIST, _SLIDE_PERSIST, _NOTES_ATOM, _TEXT_HEADER, _SLIDE_SHOW = 0xFF0, 0x3F3, 0x3F1, 0xF9F, 0x3F9
_TEXT_CODECS = {0xFA0: "utf-16-le", 0xFA8: "latin-1"}
_SLIDE_TITLES, _NOTES_TEXT = (0, 6), 2
_ENCRYPTED = 0xF3D1C4DF


def read_ppt(data: bytes, cfg: IngestConfig) -> Document:
    """A PowerPoint presentation of 1997 to 2003, a page a slide, its notes last.

    Hidden slides are left out, but counted, so that the page numbers are those of the file.
    """
    from olefile import OleFileIO

    if data.startswith(b"PK"):
        return read_pptx(data, cfg)
    if not data.startswith(OLE):
        return read_other(data, cfg, "PowerPoint")
    with OleFileIO(data) as ole:
        if read_stream(ole, "EncryptedPackage"):
            raise locked("PowerPoint")
        stream = read_stream(ole, "PowerPoint Document")
        if not stream:
            return read_pptx(convert(data, "ppt", "pptx", cfg), cfg)
        token, edit = struct.unpack_from("<II", read_stream(ole, "Current User"), 12)
        if token == _ENCRYPTED:
            raise locked("PowerPoint", for_good=True)
        title = property_title(ole, cfg)
    places, root = _places(stream, edit)
    notes = dict(_slide_notes(stream, places, root))
    parts: list[Part] = []
    empty: list[int] = []
    hidden: list[str] = []
    for number, (place, key, outline) in enumerate(_slides(stream, places, root, 0), start=1):
        if _is_hidden(stream, place):
            hidden.append(str(number))
            parts.append(Part("", (), number))
            continue
        texts = [*outline, *_texts(stream, place)]
        heading = next((collapse(clean(text)) for kind, text in texts if kind in _SLIDE_TITLES), "")
        lines = [text.strip() for _, text in texts if text.strip() not in ("", "*")]  # "*": the number of the slide
        if key in notes:
            lines.append("\n" + notes[key])
        if not lines:
            empty.append(number)
        parts.append(Part("\n".join(lines), (heading,) if heading else (), number))
    first = next((part.headings[0] for part in parts if part.headings), "")
    left_out = [f"hidden slides were left out: {', '.join(hidden)}"] if hidden else []
    return assemble(parts, title or first, len(parts), empty, notes=left_out)


def _places(stream: bytes, edit: int) -> tuple[dict[int, int], int]:
    """Where each numbered object lies, by the newest of the edits that were appended to the file, and the document."""
    places: dict[int, int] = {}
    root = 0
    seen: set[int] = set()
    while edit and edit not in seen:
        seen.add(edit)
        size = struct.unpack_from("<I", stream, edit + 4)[0]
        before, directory, document = struct.unpack_from("<8xIII", stream, edit + 8)
        if size >= 32 and struct.unpack_from("<I", stream, edit + 36)[0]:
            raise locked("PowerPoint", for_good=True)
        root = root or document
        at, end = directory + 8, directory + 8 + struct.unpack_from("<I", stream, directory + 4)[0]
        while at + 4 <= min(end, len(stream)):
            run = struct.unpack_from("<I", stream, at)[0]
            for i in range(run >> 20):
                places.setdefault((run & 0xFFFFF) + i, struct.unpack_from("<I", stream, at + 4 + 4 * i)[0])
            at += 4 + 4 * (run >> 20)
        edit = before
    return places, places[root]


def _records(stream: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Records from `start` on: type, instance, start and end of the content. Those in containers come after them."""
    ends = [end]
    while ends:
        if start + 8 > ends[-1]:
            start = ends.pop()
            continue
        head, kind, size = struct.unpack_from("<HHI", stream, start)
        stop = min(start + 8 + size, ends[-1])
        yield kind, head >> 4, start + 8, stop
        start += 8
        if head & 15 == 15:
            ends.append(stop)
        else:
            start = stop


def _inside(stream: bytes, place: int) -> Iterator[tuple[int, int, int, int]]:
    return _records(stream, place, min(place + 8 + struct.unpack_from("<I", stream, place + 4)[0], len(stream)))


def _slides(
    stream: bytes, places: dict[int, int], root: int, list_kind: int
) -> list[tuple[int, int, list[tuple[int, str]]]]:
    """Place, number and outline texts of the slides (list 0) or the pages of notes (list 2), in order."""
    slides: list[tuple[int, int, list[tuple[int, str]]]] = []
    wanted, kind = False, 0
    for record, instance, start, end in _inside(stream, root):
        if record == _SLIDE_LIST:
            wanted = instance == list_kind
        elif wanted and record == _SLIDE_PERSIST:
            key, number = struct.unpack_from("<I8xI", stream, start)
            slides.append((places[key], number, []))
        elif wanted and record == _TEXT_HEADER:
            kind = struct.unpack_from("<I", stream, start)[0]
        elif wanted and slides and record in _TEXT_CODECS:
            slides[-1][2].append((kind, _slide_text(record, stream[start:end])))
    return slides


def _slide_notes(stream: bytes, places: dict[int, int], root: int) -> Iterator[tuple[int, str]]:
    """The number of a slide and its notes."""
    for place, _, _ in _slides(stream, places, root, 2):
        text = "\n".join(text.strip() for kind, text in _texts(stream, place) if kind == _NOTES_TEXT and text.strip())
        for record, _, start, _ in _inside(stream, place):
            if record == _NOTES_ATOM and text:
                yield struct.unpack_from("<I", stream, start)[0], text


def _is_hidden(stream: bytes, place: int) -> bool:
    """Whether a slide is passed over when the presentation is shown (MS-PPT 2.6.6)."""
    for record, _, start, end in _inside(stream, place):
        if record == _SLIDE_SHOW and end - start >= 12:
            return bool(struct.unpack_from("<H", stream, start + 10)[0] & 4)
    return False


def _texts(stream: bytes, place: int) -> Iterator[tuple[int, str]]:
    """Kind and words of the text boxes of a slide."""
    kind = 0
    for record, _, start, end in _inside(stream, place):
        if record == _TEXT_HEADER:
            kind = struct.unpack_from("<I", stream, start)[0]
        elif record in _TEXT_CODECS:
            yield kind, _slide_text(record, stream[start:end])


def _slide_text(record: int, data: bytes) -> str:
    return data.decode(_TEXT_CODECS[record], "replace").replace("\r", "\n").replace("\x0b", "\n")
