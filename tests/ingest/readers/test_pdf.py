"""PDFs, built with pikepdf."""

import sys
from io import BytesIO

import pikepdf
import pytest
from pikepdf import Dictionary, Name, OutlineItem, Pdf
from PIL import Image, ImageChops

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.picture import draw
from ingest.readers.pdf import read_pdf
from tests.ingest.readers.test_ocr import drawn


def build(pages: list[list[str]], outline: list[tuple[str, int]] = [], title: str = "") -> Pdf:  # noqa: B006
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    for lines in pages:
        page = pdf.add_blank_page(page_size=(612, 792))
        page.Resources = Dictionary(Font=Dictionary(F1=font))
        drawn = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        page.Contents = pdf.make_stream(f"BT /F1 11 Tf 40 740 Td {drawn} ET".encode("latin-1"))
    with pdf.open_outline() as marks:
        marks.root.extend(OutlineItem(name, page) for name, page in outline)
    if title:
        pdf.docinfo["/Title"] = title
    return pdf


def rare(pdf: Pdf) -> Pdf:
    """The same, its letter Q standing for 𬭎, a character of names beyond U+FFFF."""
    font = pdf.pages[0].Resources.Font.F1
    font.ToUnicode = pdf.make_stream(
        b"/CIDInit /ProcSet findresource begin begincmap /CMapType 2 def\n"
        b"1 begincodespacerange <00> <ff> endcodespacerange\n"
        b"2 beginbfrange <20> <50> <0020> <52> <7e> <0052> endbfrange\n"
        b"1 beginbfchar <51> <D872DF4E> endbfchar endcmap end"
    )
    return pdf


def saved(pdf: Pdf, **options: object) -> bytes:
    memory = BytesIO()
    pdf.save(memory, **options)  # type: ignore[arg-type]
    return memory.getvalue()


def read(pdf: Pdf) -> Document:
    return read_pdf(saved(pdf), IngestConfig())


def test_each_page_is_a_section_with_its_number_and_empty_ones_are_named() -> None:
    document = read(build([["First page"], [], ["Third page"]]))
    assert document.text == "First page\n\nThird page"
    assert [(s.page, document.text[s.start : s.end]) for s in document.sections] == [
        (1, "First page"),
        (3, "Third page"),
    ]
    assert (document.pages, document.empty_pages) == (3, (2,))


def test_a_character_beyond_the_basic_plane_is_read_as_one() -> None:
    document = read(rare(build([["Prepared by Q Li", "and approved", "by others"]])))
    assert document.text.startswith("Prepared by 𬭎 Li")


def test_a_passage_with_such_a_character_is_marked_whole_on_its_page() -> None:
    pdf = saved(rare(build([["Prepared by Q Li", "and approved", "by others"]])))
    shown = Image.open(BytesIO(draw(pdf, 1, "by 𬭎 Li and"))).convert("RGB")
    bare = Image.open(BytesIO(draw(pdf, 1, "no such words"))).convert("RGB")
    box = ImageChops.difference(shown, bare).getbbox()
    assert box
    assert box[3] - box[1] > 40


def test_bookmarks_are_headings_and_cut_the_page_where_their_name_stands() -> None:
    pages = [["Cover"], ["1 Scope", "text one", "2 Terms", "text two"], ["more terms"]]
    document = read(build(pages, [("1 Scope", 1), ("2 Terms", 1)]))
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (1, (), "Cover"),
        (2, ("1 Scope",), "1 Scope\ntext one"),
        (2, ("2 Terms",), "2 Terms\ntext two"),
        (3, ("2 Terms",), "more terms"),
    ]


def test_the_lines_of_a_paragraph_are_joined_and_those_of_a_table_are_not() -> None:
    paragraph = [
        "The hotel allowance in large cities is four hundred and fifty yuan",
        "for each night, and receipts must be handed in within two weeks of",
        "Monday after the journey.",
    ]
    table = ["Region Sales", "North 100", "South 200"]
    text = read(build([[*paragraph, *table]])).text
    assert text.split("\n") == [" ".join(paragraph), *table]


@pytest.mark.parametrize(("elsewhere", "word"), [("a third-party seller", "third-party"), ("nothing", "thirdparty")])
def test_a_word_cut_at_the_end_of_a_line_is_joined(elsewhere: str, word: str) -> None:
    lines = [elsewhere, "items that are offered by a third-", "party on the site"]
    assert f"by a {word} on the site" in read(build([lines])).text


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("according to ISO-", "9001 and others", "ISO-9001"),
        ("order the part GRN-", "AB from stock", "GRN-AB"),
        ("said Ms Smith-", "Jones of Leeds", "Smith-Jones"),
        ("a picture by X-", "ray of the hand", "X-ray"),
        ("lunch from the self-", "service counter", "self-service"),
        ("she is not self-", "ish at all", "selfish"),
        ("a plan for the long-", "term care of it", "long-term"),
        ("there was a short-", "age of parts", "shortage"),
        ("THE DEPART-", "MENT OF TRADE", "DEPARTMENT"),
        ("an inter-", "national fee", "international"),
    ],
)
def test_a_code_or_a_name_keeps_the_hyphen_that_ends_a_line(before: str, after: str, word: str) -> None:
    assert f" {word} " in read(build([[before, after]])).text


@pytest.mark.parametrize(("title", "expected"), [("Travel policy", "Travel policy"), ("Microsoft Word - x.doc", "")])
def test_the_title_is_that_of_the_properties_if_it_says_something(title: str, expected: str) -> None:
    assert read(build([["x"]], title=title)).title == expected


def test_a_user_password_is_asked_for_and_an_owner_password_is_not() -> None:
    locked = saved(build([["secret"]]), encryption=pikepdf.Encryption(user="u", owner="o"))
    with pytest.raises(ReadError, match="password") as caught:
        read_pdf(locked, IngestConfig())
    assert caught.value.hint
    open_to_read = saved(build([["public"]]), encryption=pikepdf.Encryption(user="", owner="o"))
    assert read_pdf(open_to_read, IngestConfig()).text == "public"


def scan(words: str, corner: str = "") -> Pdf:
    """A page that is a picture, with a stamp of real text."""
    memory = BytesIO()
    drawn(words).save(memory, "PDF", resolution=100)
    pdf = Pdf.open(BytesIO(memory.getvalue()))
    page = pdf.pages[0]
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)
    page.Resources.Font = Dictionary(F1=font)
    page.contents_add(pdf.make_stream(f"BT /F1 8 Tf 5 5 Td ({corner}) Tj ET".encode("latin-1")))
    return pdf


@pytest.mark.slow
def test_scanned_pages_between_others_are_recognised_and_keep_their_numbers() -> None:
    pdf = build([["Typed page"], [], ["Last page"]])
    scanned = scan("Travel expenses are paid within ten days", "Page 2")
    pdf.pages.insert(1, scanned.pages[0])
    document = read(pdf)
    assert [(s.page, document.text[s.start : s.end]) for s in document.sections] == [
        (1, "Typed page"),
        (2, "Travel expenses are paid within ten days Page 2"),
        (4, "Last page"),
    ]
    assert (document.pages, document.ocr_pages, document.empty_pages) == (4, (2,), (3,))


def test_without_ocr_the_scanned_pages_of_a_mixed_pdf_stay_empty() -> None:
    pdf = build([["Typed page"]])
    scanned = scan("Travel expenses")
    pdf.pages.append(scanned.pages[0])
    document = read_pdf(saved(pdf), IngestConfig(ocr="off"))
    assert (document.text, document.ocr_pages, document.empty_pages) == ("Typed page", (), (2,))


@pytest.mark.slow
def test_a_page_with_more_text_than_a_stamp_is_not_recognised_though_a_picture_lies_behind_it() -> None:
    layer = " ".join(["caption"] * 16)
    document = read(scan("Background", layer))
    assert (document.text, document.ocr_pages) == (layer, ())


@pytest.mark.slow
def test_a_scanned_page_is_known_by_its_picture_however_long_its_stamp_is() -> None:
    stamp = "Received by the registry of the district court on 12 May 2024 under number 4711 of the year and kept"
    scanned = scan("Travel expenses are paid within ten days", stamp)
    document = read(scanned)
    assert document.ocr_pages == (1,)
    assert "paid within ten days" in document.text
    assert "4711" in document.text
    (note,) = read_pdf(saved(scanned), IngestConfig(ocr="off")).notes
    assert note == "pages that are mostly pictures, of which only the text beside them was read: 1"


def test_a_scan_is_an_error_that_names_ocr_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(scan("Travel expenses"))
    with pytest.raises(ReadError, match=r"1 page\).*scan.*OCR is off") as caught:
        read_pdf(data, IngestConfig(ocr="off"))
    assert "ingest.ocr" in caught.value.hint
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ReadError, match="OCR is not installed") as caught:
        read_pdf(data, IngestConfig())
    assert '".[ocr]"' in caught.value.hint


def test_blank_pages_of_any_size_are_no_work_for_ocr() -> None:
    pdf = Pdf.new()
    for size in ((612, 792), (14400, 14400), (14400, 3)):
        pdf.add_blank_page(page_size=size)
    with pytest.raises(ReadError, match=r"3 pages.*OCR found none"):
        read(pdf)


def test_a_damaged_cross_reference_table_is_survived() -> None:
    data = saved(build([["still here"]]), object_stream_mode=pikepdf.ObjectStreamMode.disable)
    assert read_pdf(data[: data.rindex(b"xref\n0")], IngestConfig()).text == "still here"


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\x89PNG\r\n\x1a\n....", "PNG image"), (b"words", "not a PDF"), (b"%PDF-1.7\n%%EOF", "damaged PDF")],
)
def test_what_cannot_be_opened_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_pdf(data, IngestConfig())


@pytest.mark.parametrize(
    ("times", "day"),
    [
        ({"/ModDate": "D:20240315233000-08'00'", "/CreationDate": "D:20200101"}, "2024-03-15"),
        ({"/ModDate": "D:19700101000000Z", "/CreationDate": "D:20200102"}, "2020-01-02"),
        ({"/CreationDate": "2 Jan 2020"}, "2020-01-02"),
        ({}, ""),
    ],
)
def test_keywords_are_tags_and_the_date_is_that_of_the_last_change(times: dict[str, str], day: str) -> None:
    pdf = build([["text"]])
    pdf.docinfo["/Keywords"] = "annual leave, 年假"
    for name, time in times.items():
        pdf.docinfo[name] = time
    document = read(pdf)
    assert (document.tags, document.date) == (("annual leave", "年假"), day)
