"""Of a PDF page only what can be seen is text; what is light on a dark ground, or over a picture's words, can be."""

import pytest
from pikepdf import Dictionary, Name, Pdf

from core.config import IngestConfig
from core.types import Document
from ingest.readers.pdf import read_pdf
from tests.ingest.readers.test_pdf import saved

VISIBLE = "BT 0 g /F1 11 Tf 40 740 Td (Leave is twenty five days for everybody.) Tj ET "
MARKER = "MARKER of more than twenty four letters"
LINE = f"/F1 11 Tf 40 600 Td ({MARKER}) Tj ET "


def page(content: str, *, rotate: int = 0, crop: tuple[int, ...] = ()) -> Document:
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    clear = pdf.make_indirect(Dictionary(Type=Name.ExtGState, ca=0))
    picture = pdf.make_stream(
        bytes(range(0, 250, 10)) * 25, Type=Name.XObject, Subtype=Name.Image, Width=25, Height=25,
        ColorSpace=Name.DeviceGray, BitsPerComponent=8,
    )  # fmt: skip
    form = pdf.make_stream(
        f"BT 1 g {LINE}".encode(), Type=Name.XObject, Subtype=Name.Form, BBox=[0, 0, 612, 792],
        Resources=Dictionary(Font=Dictionary(F1=font)),
    )  # fmt: skip
    plain = pdf.make_stream(
        f"BT {LINE}".encode(), Type=Name.XObject, Subtype=Name.Form, BBox=[0, 0, 612, 792],
        Resources=Dictionary(Font=Dictionary(F1=font)),
    )  # fmt: skip
    leaf = pdf.add_blank_page(page_size=(612, 792))
    leaf.Resources = Dictionary(
        Font=Dictionary(F1=font), ExtGState=Dictionary(G=clear), XObject=Dictionary(P=picture, F=form, D=plain)
    )
    leaf.Contents = pdf.make_stream((VISIBLE + content).encode())
    if rotate:
        leaf.Rotate = rotate
    if crop:
        leaf.CropBox = list(crop)
    return read_pdf(saved(pdf), IngestConfig())


@pytest.mark.parametrize(
    "hidden",
    [
        f"BT 1 g {LINE}", f"BT 1 1 1 rg {LINE}", f"BT 0 0 0 0 k {LINE}", f"BT 0.99 g {LINE}", f"BT 3 Tr {LINE}",
        f"q /G gs BT 0 g {LINE} Q", f"BT 0 g /F1 0.5 Tf 40 600 Td ({MARKER}) Tj ET ",
        f"q 0.05 0 0 0.05 0 0 cm BT 0 g /F1 11 Tf 800 900 Td ({MARKER}) Tj ET Q ", "/F Do ",
        f"1 g 30 590 400 30 re f BT 1 g {LINE}", f"BT 1 g {LINE} BT 0 g /F1 11 Tf 40 500 Td (Then more.) Tj ET ",
        f"BT 7 Tr {LINE}", f"BT 1 Tr 1 G {LINE}", f"BT 2 Tr 1 g 1 G {LINE}", f"q 0 0 1 1 re W n BT {LINE} Q",
        f"q 0 0 0 0 re W n BT {LINE} Q", f"BT 0.1 Tz {LINE}", f"BT 5 Tz {LINE}", f"q 1 0 0 0.001 0 600 cm BT {LINE} Q",
        "q 0.001 0 0 1 40 0 cm 0 g /D Do Q", "q 0 0 1 1 re W n /D Do Q", "q 3 Tr /D Do Q",
        f"0.2 0.4 0.6 rg 30 590 500 30 re f BT 0.2 0.4 0.6 rg {LINE}", f"0 g 30 590 500 30 re f BT 0 g {LINE}",
    ],
)  # fmt: skip
def test_what_nobody_sees_is_left_out_and_counted(hidden: str) -> None:
    document = page(hidden)
    assert "MARKER" not in document.text
    assert document.text.startswith("Leave is twenty five days for everybody.")
    assert ("Then more." in document.text) == ("Then more." in hidden)
    (note,) = document.notes
    assert note.startswith(f"{len(MARKER.replace(' ', ''))} characters that nobody sees were left out: ")


@pytest.mark.parametrize(
    ("on", "off", "base", "seen"),
    [
        ([], ["de"], "/ON", ["en"]), (["en"], [], "/OFF", ["en"]), (["en", "de"], [], "/ON", ["de", "en"]),
        (["de"], ["en"], "/ON", ["de"]),
    ],
)  # fmt: skip
def test_of_layers_in_one_place_those_are_read_that_are_shown(
    on: list[str], off: list[str], base: str, seen: list[str]
) -> None:
    texts = {"de": "Urlaub sind zwanzig Tage im Jahr.", "en": "Vacation is twenty days in a year."}
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    groups = {name: pdf.make_indirect(Dictionary(Type=Name.OCG, Name=name)) for name in texts}
    leaf = pdf.add_blank_page(page_size=(612, 792))
    leaf.Resources = Dictionary(Font=Dictionary(F1=font), Properties=Dictionary(de=groups["de"], en=groups["en"]))
    drawn = (f"/OC /{name} BDC BT /F1 11 Tf 40 700 Td ({text}) Tj ET EMC " for name, text in texts.items())
    leaf.Contents = pdf.make_stream((VISIBLE + "".join(drawn)).encode())
    state = Dictionary(BaseState=Name(base), ON=[groups[name] for name in on], OFF=[groups[name] for name in off])
    pdf.Root.OCProperties = Dictionary(OCGs=list(groups.values()), D=state)
    document = read_pdf(saved(pdf), IngestConfig())
    assert sorted(name for name, text in texts.items() if text.split()[0] in document.text) == seen
    assert len(document.notes) == (len(seen) == 1)


@pytest.mark.parametrize(
    "shown",
    [
        f"0.1 0.2 0.5 rg 30 590 400 30 re f BT 1 g {LINE}", f"0 g 30 590 400 30 re f BT 1 1 1 rg {LINE}",
        f"q 400 0 0 100 30 550 cm /P Do Q BT 1 g {LINE}", "0.2 g 30 590 400 30 re f /F Do ",
        f"q 612 0 0 792 0 0 cm /P Do Q BT 3 Tr {LINE}", f"BT 0.8 g {LINE}", f"BT 1 0.9 0 rg {LINE}",
        f"BT 2 Tr 1 g 0 G {LINE}", f"BT 1 Tr 0 G {LINE}", f"BT 0 g /F1 4 Tf 40 600 Td ({MARKER}) Tj ET ",
        f"BT 0 g /F1 1 Tf 11 0 0 11 40 600 Tm ({MARKER}) Tj ET ", f"BT 50 Tz {LINE}", f"BT 2 Tr 0 g 1 G {LINE}",
        f"0.2 0.4 0.6 rg 30 590 500 30 re f BT 0 g {LINE}", f"0 g 30 640 500 30 re f BT 0 g {LINE}",
        f"0 g 30 590 500 30 re S BT 0 g {LINE}", f"0 g 30 590 500 30 re f 1 g 30 590 500 30 re f BT 0 g {LINE}",
        f"q 30 590 500 30 re W n BT {LINE} Q", f"q 0 0 300 700 re W n 30 590 400 30 re W n BT {LINE} Q",
        "q 30 590 500 30 re W n /D Do Q", "q 1 0 0 1 100 -100 cm 30 590 500 30 re W n /D Do Q",
        f"q 0.02 0 0 0.02 40 600 cm BT 0 g /F1 550 Tf 0 0 Td ({MARKER}) Tj ET Q", "0 g /D Do",
    ],
)  # fmt: skip
def test_what_may_be_seen_stays(shown: str) -> None:
    document = page(shown)
    assert MARKER in document.text
    assert document.notes == ()


def test_white_words_in_a_dark_row_stay_while_those_below_are_left_out() -> None:
    row = f"0 0 0.4 rg 30 590 400 30 re f BT 1 g {LINE}"
    document = page(f"{row} BT 1 g /F1 11 Tf 40 500 Td (Nobody can read this line of text here) Tj ET ")
    assert MARKER in document.text
    assert "Nobody" not in document.text
    assert page(f"{row} BT 1 g {LINE}", rotate=90).text.count("MARKER") >= 1


def test_text_outside_of_the_page_is_left_out_and_counted() -> None:
    below = "BT 0 g /F1 11 Tf 40 -300 Td (Nobody can read this line of text here) Tj ET "
    for document in (page(below), page(f"BT 0 g {LINE}", crop=(0, 700, 612, 792))):
        assert document.text == "Leave is twenty five days for everybody."
        (note,) = document.notes
        assert note.endswith("were left out: they stand outside of the page")


def drawn_page(content: str) -> Pdf:
    pdf = Pdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    page = pdf.add_blank_page(page_size=(612, 792))
    page.Resources = Dictionary(Font=Dictionary(F1=font))
    page.Contents = pdf.make_stream(content.encode())
    return pdf


_NAME = "BT /F1 12 Tf 1 0 0 1 150 500 Tm (Jane Roe of Basle) Tj ET"
_LINE = "BT /F1 12 Tf 1 0 0 1 60 600 Tm (The witness is named below and lives there.) Tj ET"


@pytest.mark.parametrize("colour", ["0 g", "1 g", "0.3 0.3 0.3 rg"])
def test_text_below_a_box_that_is_drawn_later_is_left_out(colour: str) -> None:
    document = read_pdf(saved(drawn_page(f"{_LINE} {_NAME} {colour} 140 495 130 18 re f")), IngestConfig())
    assert "The witness is named below" in document.text
    assert "Jane" not in document.text
    assert "Basle" not in document.text
    assert document.notes == (
        "14 characters that nobody sees were left out: something that is drawn later covers them",
    )


@pytest.mark.parametrize(
    "content",
    [
        f"{_LINE} 0.9 g 140 495 130 18 re f 0 g {_NAME}",  # a ground below it
        f"{_LINE} {_NAME} 140 495 130 18 re S",  # a frame around it
        f"{_LINE} {_NAME} 0 g 140 495 130 3 re f",  # a line below it
        f"{_LINE} {_NAME} 0 g 300 495 130 18 re f",  # beside it
    ],
)
def test_text_that_shows_beside_or_above_boxes_is_kept(content: str) -> None:
    document = read_pdf(saved(drawn_page(content)), IngestConfig())
    assert "Jane Roe of Basle" in document.text
    assert document.notes == ()


def test_of_a_text_that_is_covered_in_part_the_rest_is_kept() -> None:
    document = read_pdf(saved(drawn_page(f"{_LINE} {_NAME} 0 g 140 495 60 18 re f")), IngestConfig())
    assert "Basle" in document.text
    assert "Jane" not in document.text


def test_no_run_between_visible_ones_is_too_short_to_be_looked_at() -> None:
    words = [f"word{number}" for number in range(40)]
    lines = (
        f"BT 0 g 0 Tr /F1 9 Tf 40 {700 - 12 * n} Td (Said here as {word}.) Tj 3 Tr 200 0 Td (hid) Tj ET "
        for n, word in enumerate(words)
    )
    document = page("".join(lines))
    assert "hid" not in document.text
    assert all(word in document.text for word in words)
    assert document.notes == ("120 characters that nobody sees were left out: they are transparent",)


@pytest.mark.parametrize("content", ["BT /F1 12 Tf 60 500 Td (Shown and clipped) Tj ET", "/D Do"])
def test_of_a_text_that_is_clipped_in_part_what_shows_is_kept(content: str) -> None:
    pdf = drawn_page(f"{_LINE} q 50 490 50 40 re W n {content} Q")
    leaf = pdf.pages[0]
    form = pdf.make_stream(
        b"BT /F1 24 Tf 120 1000 Td (Shown and clipped) Tj ET", Type=Name.XObject, Subtype=Name.Form,
        BBox=[0, 0, 1224, 1584], Matrix=[0.5, 0, 0, 0.5, 0, 0], Resources=leaf.Resources,
    )  # fmt: skip
    leaf.Resources.XObject = Dictionary(D=form)
    document = read_pdf(saved(pdf), IngestConfig())
    assert "Shown" in document.text
    assert "clipped" not in document.text
    assert "they are not displayed" in document.notes[0]


def test_a_page_of_more_objects_than_are_walked_through_is_asked_for_those_of_its_characters() -> None:
    rules = "".join(f"{n % 600} {n // 600} m {n % 600} {n // 600 + 1} l S " for n in range(20_100))
    document = page(f"{rules} BT 3 Tr {LINE}")
    assert "MARKER" not in document.text
    assert document.text.startswith("Leave is twenty five days for everybody.")


def test_text_that_was_painted_over_and_replaced_is_left_out() -> None:
    later = f"{_LINE} {_NAME} 1 g 140 495 130 18 re f 0 g {_NAME.replace('Jane Roe of Basle', 'Anna Bell of Bonn')}"
    assert "Jane Roe of Basle" in _NAME
    document = read_pdf(saved(drawn_page(later)), IngestConfig())
    assert "Anna Bell of Bonn" in document.text
    assert "Jane" not in document.text
    assert document.notes == (
        "14 characters that nobody sees were left out: something that is drawn later covers them",
    )
