"""What is refused before an Office parser sees it."""

import re
from io import BytesIO
from zipfile import ZipFile

import docx
import pytest

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.office import read_docx
from ingest.readers.package import check_package, plain_package
from tests.ingest.readers.zipped import zipped


def word(text: str) -> bytes:
    memory = BytesIO()
    document = docx.Document()
    document.add_paragraph(text)
    document.save(memory)
    return memory.getvalue()


def rewritten(data: bytes, change: dict[bytes, bytes]) -> bytes:
    with ZipFile(BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    pattern = re.compile(b"|".join(map(re.escape, change)))
    return zipped({name: pattern.sub(lambda m: change[m[0]], content) for name, content in members.items()})


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped({"a.txt": b"hello"}), "ordinary zip archive"),
        (OLE + b"\0" * 600, "old binary Office file"),
        (OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "password-protected"),
        (word("x")[:2000], "cut short"),
        (b"%PDF-1.4 ...", "looks like a PDF"),
        (b"hello", "not a Word file"),
    ],
)
def test_each_wrong_file_is_refused_in_its_own_words(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        check_package(data, "Word")
    assert caught.value.hint


def test_a_zip_bomb_is_refused_by_its_directory_alone() -> None:
    bomb = zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"\0" * 60_000_000})
    with pytest.raises(ReadError, match="zip bomb"):
        check_package(bomb, "Word")


def test_an_ordinary_package_passes_unchanged() -> None:
    data = word("hello")
    check_package(data, "Word")
    assert plain_package(data) is data


def test_macro_and_strict_files_are_read_like_others() -> None:
    main = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    macro = rewritten(word("带宏的文件"), {main: b"application/vnd.ms-word.document.macroEnabled.main+xml"})
    strict = rewritten(
        word("strict file"),
        {
            b"http://schemas.openxmlformats.org/wordprocessingml/2006/main": b"http://purl.oclc.org/ooxml/wordprocessingml/main",
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        },
    )
    assert read_docx(macro, IngestConfig()).text == "带宏的文件"
    assert read_docx(strict, IngestConfig()).text == "strict file"
