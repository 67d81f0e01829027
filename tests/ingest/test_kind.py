"""A file is read as what its bytes say it is, whatever its name says."""

from collections.abc import Callable
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

import docx
import pptx
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.config import IngestConfig
from core.errors import ReadError
from ingest.kind import kind_of, suffix_of
from ingest.read import SUFFIXES, read_bytes, read_file, supported
from tests.ingest.readers.compound import compound
from tests.ingest.readers.test_epub import book
from tests.ingest.readers.zipped import zipped

CFG = IngestConfig()


def word() -> bytes:
    document, memory = docx.Document(), BytesIO()
    document.add_paragraph("seven needles")
    document.save(memory)
    return memory.getvalue()


def slides() -> bytes:
    presentation, memory = pptx.Presentation(), BytesIO()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = "seven needles"  # type: ignore[union-attr]
    presentation.save(memory)
    return memory.getvalue()


def sheet() -> bytes:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        workbook.add_worksheet().write(0, 0, "seven needles")
    return memory.getvalue()


def picture(kind: str) -> bytes:
    memory = BytesIO()
    Image.new("RGB", (9, 9)).save(memory, kind)
    return memory.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.com", "x"
    message.set_content("seven needles")
    return message.as_bytes()


PAGE = b"<!DOCTYPE html><html><body><p>seven needles</p></body></html>"
SAVED = (
    b"From: <Saved by Blink>\r\nSnapshot-Content-Location: https://a.example/\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/related; type="text/html"; boundary="b"\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n'
    + PAGE + b"\r\n--b--\r\n"
)  # fmt: skip
KINDS: dict[str, Callable[[], bytes]] = {
    ".docx": word, ".pptx": slides, ".xlsx": sheet, ".eml": mail, ".html": lambda: PAGE, ".mhtml": lambda: SAVED,
    ".rtf": lambda: b"{\\rtf1 seven needles}", ".epub": book,
    ".zip": lambda: zipped({"a.txt": b"seven needles"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_each_kind_are_known(kind: str) -> None:
    assert kind_of(KINDS[kind]()) == kind


@pytest.mark.parametrize(
    ("form", "kind"), [("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".gif"), ("TIFF", ".tif"), ("WEBP", ".webp")]
)
def test_the_bytes_of_pictures_are_known(form: str, kind: str) -> None:
    assert kind_of(picture(form)) == kind


@pytest.mark.parametrize(
    ("stream", "kind"),
    [("WordDocument", ".doc"), ("Workbook", ".xls"), ("PowerPoint Document", ".ppt"), ("Other", ""),
     ("__properties_version1.0", ".msg")],
)  # fmt: skip
def test_old_office_files_are_known_by_their_streams(stream: str, kind: str) -> None:
    assert kind_of(compound({stream: b"x"})) == kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ".epub"])
@pytest.mark.parametrize("suffix", [".docx", ".pdf", ".pptx", ".xlsx", ".doc", ".png", ".zip", ".epub", ".rtf"])
def test_a_wrong_suffix_does_not_matter_and_is_named(kind: str, suffix: str) -> None:
    document = read_bytes(f"x{suffix}", KINDS[kind](), CFG)
    assert "seven needles" in document.text
    known = kind == suffix or (suffix, kind) in ((".doc", ".html"),)
    assert known or document.notes[0] == f"read as {kind}, which its first bytes say it is"


@pytest.mark.parametrize("kind", [".docx", ".xlsx", ".zip", ".rtf"])
@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv", ".html", ".json", ".py"])
def test_a_file_that_is_no_text_is_not_read_as_text(kind: str, suffix: str) -> None:
    assert "seven needles" in read_bytes(f"x{suffix}", KINDS[kind](), CFG).text


@pytest.mark.parametrize("suffix", [".md", ".py", ".csv", ".json", ".log", ".vue"])
def test_text_about_a_page_or_a_mail_stays_text(suffix: str) -> None:
    for data in (b'"<html>"', mail()):
        try:
            assert not any("read as" in note for note in read_bytes(f"x{suffix}", data, CFG).notes)
        except ReadError:  # no JSON
            assert suffix == ".json"


def test_columns_under_the_name_of_a_workbook_are_read() -> None:
    assert "City: Bonn" in read_bytes("x.xlsx", b"City,Fare\nBonn,40\n", CFG).text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Lease No. 12", "contract", "2024.05 报告"])
def test_a_file_without_a_suffix_is_read(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(KINDS[kind]())
    assert supported(path, IngestConfig())
    document = read_file(path, CFG)
    assert document.text
    assert not any("read as" in note for note in document.notes)


def test_plain_text_without_a_suffix_is_read_and_binary_data_is_passed_over(tmp_path: Path) -> None:
    for name, data, readable in (
        ("README", "用法 usage".encode(), True), ("old", "年假制度与差旅报销".encode("gbk"), True),
        ("core", b"\x7fELF\0\1", False),
        ("empty", b"", False), ("x.exe", b"text", False),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert supported(tmp_path / name, IngestConfig()) == readable
    assert read_file(tmp_path / "README", CFG).text == "用法 usage"
    assert not supported(tmp_path / "missing", IngestConfig())


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.PDF", ".pdf"),
        ("a", ""),
        ("No. 12", ""),
        ("v1.2", ""),
        ("a.7z", ".7z"),
        ("合同.第三版", ""),
        ("a.tar.gz", ".gz"),
    ],
)
def test_what_counts_as_a_suffix(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


@given(st.binary(max_size=300), st.sampled_from(["", *(kind()[:40] for kind in KINDS.values())]))
def test_bytes_of_any_kind_only_ever_name_a_reader(tail: bytes, head: bytes | str) -> None:
    assert kind_of((head or b"") + tail if isinstance(head, bytes) else tail) in {"", *SUFFIXES}
