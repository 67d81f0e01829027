"""Books: reading order, headings, metadata, encryption."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from ingest.readers.epub import read_epub

CFG = IngestConfig()
CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
OPF = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>差旅手册</dc:title><dc:creator>Ann</dc:creator><dc:creator>Bob</dc:creator></metadata>
<manifest><item id="two" href="text/two.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/%E4%B8%80.xhtml" media-type="application/xhtml+xml"/>
<item id="gone" href="text/gone.xhtml" media-type="application/xhtml+xml"/>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>
<spine toc="ncx"><itemref idref="nav"/>
<itemref idref="one"/><itemref idref="gone"/><itemref idref="two"/></spine></package>"""
PAGE = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
NCX = """<ncx><navMap><navPoint><navLabel><text>First chapter</text></navLabel><content src="text/%E4%B8%80.xhtml#a"/>
</navPoint></navMap></ncx>"""
NAV = PAGE.format('<nav><ol><li><a href="text/%E4%B8%80.xhtml">Chapter of the nav</a></li></ol></nav>')


def book(**changed: str | None) -> bytes:
    members = {
        "mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OPS/book.opf": OPF,
        "OPS/text/two.xhtml": PAGE.format("<h1>Second</h1><p>later</p><table><tr><td>a</td><td>b</td></tr></table>"),
        "OPS/text/一.xhtml": PAGE.format("<p>sooner&nbsp;words</p>"), "OPS/toc.ncx": NCX, "OPS/nav.xhtml": None,
    } | {key.replace("__", "/").replace("_DOT_", "."): value for key, value in changed.items()}  # fmt: skip
    memory = BytesIO()
    with ZipFile(memory, "w") as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return memory.getvalue()


def test_chapters_come_in_the_order_of_the_spine_under_their_names() -> None:
    document = read_epub(book(), CFG)
    assert [(s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        ((), "Title: 差旅手册\nAuthor: Ann, Bob"),
        (("First chapter",), "sooner words"),
        (("Second",), "Second\n\nlater\n\n| a | b |\n| --- | --- |"),
    ]
    assert (document.title, document.tables) == ("差旅手册", 1)


def test_a_chapter_that_is_missing_becomes_a_note() -> None:
    assert read_epub(book(), CFG).notes == ("OPS/text/gone.xhtml: the chapter is missing from the book",)


def test_the_navigation_document_names_chapters_and_is_not_text() -> None:
    document = read_epub(book(OPS__nav_DOT_xhtml=NAV), CFG)
    assert document.sections[1].headings == ("Chapter of the nav",)
    assert "nav" not in document.text


def encryption(algorithm: str, path: str) -> str:
    return f"""<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>
    <e:EncryptionMethod Algorithm="{algorithm}"/><e:CipherData><e:CipherReference URI="{path}"/></e:CipherData>
    </e:EncryptedData></encryption>"""


def test_drm_is_an_error_and_obfuscated_fonts_are_none() -> None:
    aes = encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OPS/text/two.xhtml")
    with pytest.raises(ReadError, match="DRM"):
        read_epub(book(**{"META-INF/encryption.xml": aes}), CFG)
    font = encryption("http://www.idpf.org/2008/embedding", "OPS/font.otf")
    assert "later" in read_epub(book(**{"META-INF/encryption.xml": font}), CFG).text


def test_a_book_without_package_document_or_chapters_is_refused() -> None:
    with pytest.raises(ReadError, match="package document"):
        read_epub(book(**{"OPS/book.opf": None}), CFG)
    with pytest.raises(ReadError, match="no text"):
        read_epub(book(**{"OPS/text/一.xhtml": None, "OPS/text/two.xhtml": None}), CFG)


def test_subjects_are_tags_and_the_date_is_that_of_the_book() -> None:
    said = "<dc:subject>Travel, business</dc:subject><dc:subject>差旅</dc:subject><dc:date>unknown</dc:date>"
    said += "<dc:date>2021-09</dc:date></metadata>"
    document = read_epub(book(OPS__book_DOT_opf=OPF.replace("</metadata>", said)), CFG)
    assert (document.tags, document.date) == (("Travel, business", "差旅"), "2021-09")
