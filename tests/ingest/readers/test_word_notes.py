"""Notes of Word documents stand where they belong, with their mark."""

from collections.abc import Callable, Mapping
from io import BytesIO

import docx
from docx.document import Document as WordDocument
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part

from core.config import IngestConfig
from core.types import Document
from ingest.readers.office import read_docx
from tests.ingest.readers.test_office import W, add


def read(build: Callable[[WordDocument], object], **notes: Mapping[str, str]) -> Document:
    """A document with parts of notes: `footnotes={"2": "text"}`."""
    document = docx.Document()
    for kind, texts in notes.items():
        one = kind.removesuffix("s")
        inner = "".join(
            f'<w:{one} w:id="{key}" w:author="Ann"><w:p><w:r><w:{one}Ref/><w:t>{text}</w:t></w:r></w:p></w:{one}>'
            for key, text in texts.items()
        )
        separator = f'<w:{one} w:type="separator" w:id="-1"><w:p><w:r><w:separator/></w:r></w:p></w:{one}>'
        xml = f"<w:{kind} {W}>{separator}{inner}</w:{kind}>"
        part = Part(PackURI(f"/word/{kind}.xml"), f"application/vnd.x.{kind}+xml", xml.encode(), document.part.package)
        document.part.relate_to(part, getattr(RELATIONSHIP_TYPE, kind.upper()))
    build(document)
    memory = BytesIO()
    document.save(memory)
    return read_docx(memory.getvalue(), IngestConfig())


def reference(kind: str, key: int, about: str = "", run: str = "") -> str:
    return f'<w:r>{run}<w:{kind}Reference w:id="{key}" {about}/></w:r>'


def text(said: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{said}</w:t></w:r>'


def paragraph(*inner: str) -> str:
    return f"<w:p {W}>{''.join(inner)}</w:p>"


def test_foot_and_end_notes_stand_below_their_paragraph_with_their_mark() -> None:
    raised = '<w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'

    def build(document: WordDocument) -> None:
        add(document, paragraph(text("paid within 28"), reference("footnote", 5, run=raised), text(" days")))
        add(document, paragraph(text("next"), reference("footnote", 2), text(" and"), reference("endnote", 3)))

    document = read(build, footnotes={"2": "Second note.", "5": "Working days."}, endnotes={"3": "An end note."})
    assert document.text.split("\n") == [
        "paid within 28 [1] days", "[1] Working days.", "next [2] and [i]", "[2] Second note.", "[i] An end note.",
    ]  # fmt: skip


def test_a_mark_of_its_own_is_kept_and_does_not_count() -> None:
    def build(document: WordDocument) -> None:
        add(document, paragraph(text("a"), reference("footnote", 2, 'w:customMarkFollows="1"'), text("*")))
        add(document, paragraph(text("b"), reference("footnote", 3)))

    assert read(build, footnotes={"2": "* star", "3": "one"}).text.split("\n") == ["a*", "* star", "b [1]", "[1] one"]


def test_notes_of_a_table_stand_below_it_and_those_of_deleted_text_are_none() -> None:
    cells = (
        f"<w:tc>{paragraph(text(said), note)}</w:tc>" for said, note in (("a", ""), ("b", reference("footnote", 2)))
    )

    def build(document: WordDocument) -> None:
        add(document, f"<w:tbl {W}><w:tr>{''.join(cells)}</w:tr></w:tbl>")
        add(document, paragraph(text("x"), f"<w:del>{reference('footnote', 3)}</w:del>", reference("footnote", 4)))

    document = read(build, footnotes={"2": "of b", "3": "gone", "4": "of x"})
    assert document.text.split("\n") == ["| a | b [1] |", "| --- | --- |", "", "[1] of b", "x [2]", "[2] of x"]


def test_the_form_of_the_marks_is_the_one_of_the_document() -> None:
    def build(document: WordDocument) -> None:
        add(document, paragraph(text("a"), reference("footnote", 2)))
        about = '<w:footnotePr><w:numFmt w:val="decimalEnclosedCircle"/><w:numStart w:val="3"/></w:footnotePr>'
        add(document, paragraph(f"<w:pPr><w:sectPr>{about}</w:sectPr></w:pPr>"))

    assert read(build, footnotes={"2": "note"}).text == "a [③]\n[③] note"


def test_a_note_that_is_missing_or_written_twice_changes_no_text() -> None:
    def build(document: WordDocument) -> None:
        add(document, paragraph(text("a"), reference("footnote", 9), reference("comment", 9)))
        add(document, paragraph(text("b"), reference("footnote", 2), reference("footnote", 2)))

    assert read(build, footnotes={"2": "note"}).text == "a [1]\nb [2] [2]\n[2] note"


def test_comments_that_nothing_refers_to_come_last() -> None:
    document = read(lambda document: add(document, paragraph(text("a"))), comments={"4": "left over"})
    assert document.text == "a\n[comment] left over"


def test_a_mark_that_is_said_to_be_none_of_its_own_counts() -> None:
    def build(document: WordDocument) -> None:
        for said in ("0", "false"):
            note = reference("footnote", 2 if said == "0" else 3, f'w:customMarkFollows="{said}"')
            add(document, paragraph(text("28"), note, text(" days")))

    document = read(build, footnotes={"2": "a", "3": "b"})
    assert document.text.split("\n") == ["28 [1] days", "[1] a", "28 [2] days", "[2] b"]
