"""One file in, a Document or a ReadError out; at the end, odd real files where RAGSTONE_EVAL names their folder."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import docx
import pptx
import pytest
import xlsxwriter
from pptx.util import Emu

from core.config import IngestConfig
from core.errors import ReadError
from ingest.read import SUFFIXES, read_bytes, read_file, supported

CFG = IngestConfig()


def failure(path: Path, cfg: IngestConfig = CFG) -> ReadError:
    with pytest.raises(ReadError) as caught:
        read_file(path, cfg)
    assert caught.value.hint
    return caught.value


def test_readers_are_picked_by_suffix_in_any_case(tmp_path: Path) -> None:
    assert supported("a/b.PDF", IngestConfig())
    assert not supported("a/b.exe", IngestConfig())
    assert not supported(tmp_path / "Makefile", IngestConfig())
    (tmp_path / "x.MD").write_text("# Heading\n\ntext", encoding="utf-8")
    assert read_file(tmp_path / "x.MD", CFG).title == "Heading"


def test_the_name_of_a_file_says_nothing_about_its_title(tmp_path: Path) -> None:
    (tmp_path / "Annual Report.txt").write_text("some words", encoding="utf-8")
    assert read_file(tmp_path / "Annual Report.txt", CFG).title == ""


def test_a_suffix_without_a_reader_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "x.exe").write_bytes(b"MZ")
    error = failure(tmp_path / "x.exe")
    assert ".exe" in error.message
    assert ".docx" in error.hint


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_an_empty_file_says_so_whatever_its_format(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").touch()
    assert failure(tmp_path / f"x{suffix}").message == "the file is empty"


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_random_bytes_are_a_read_error_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(bytes((i * 7919 + i // 256 * 31) % 256 for i in range(5000)))
    assert failure(tmp_path / f"x{suffix}").message


def test_white_space_alone_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text(" \n\t\n" * 50, encoding="utf-8")
    assert failure(tmp_path / "x.md").message == "no text in it"


def test_a_file_that_went_away(tmp_path: Path) -> None:
    assert "disappeared" in failure(tmp_path / "gone.txt").message


def test_a_file_without_read_permission(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("words", encoding="utf-8")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read every file
        os.seteuid(65_534)
    try:
        error = failure(path)
    finally:
        os.seteuid(user)
    assert "permission" in error.message
    assert "chmod" in error.hint


def test_a_folder_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    assert "folder" in failure(tmp_path / "folder.txt").message
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe" in failure(tmp_path / "pipe.txt").message


def test_a_file_over_the_limit_is_refused_unread_with_size_limit_and_key(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with path.open("wb") as handle:
        handle.truncate(200_000_000)  # sparse: it takes no room, and reading it as text would fail otherwise
    error = failure(path)
    assert "200.0 MB" in error.message
    assert "100 MB" in error.message
    assert "ingest.max_file_mb" in error.hint


def test_a_broken_member_of_a_package_is_damage(tmp_path: Path) -> None:
    memory = BytesIO()
    document = docx.Document()
    document.add_paragraph("words " * 1000)
    document.save(memory)
    data = bytearray(memory.getvalue())
    with ZipFile(memory) as archive:
        start = archive.getinfo("word/document.xml").header_offset
    data[start + 80 : start + 120] = b"\0" * 40
    (tmp_path / "x.docx").write_bytes(data)
    assert "damaged .docx file" in failure(tmp_path / "x.docx").message


def test_json_nested_too_deeply_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" * 200_000, encoding="utf-8")
    assert "nested too deeply" in failure(tmp_path / "x.json").message


def made(suffix: str) -> bytes:
    """A file of this kind that holds one table."""
    memory = BytesIO()
    if suffix == ".docx":
        document = docx.Document()
        document.add_table(1, 2).cell(0, 0).text = "City"
        document.save(memory)
    elif suffix == ".pptx":
        presentation = pptx.Presentation()
        slide = presentation.slides.add_slide(presentation.slide_layouts[6])
        slide.shapes.add_table(1, 2, Emu(0), Emu(0), Emu(9), Emu(9)).table.cell(0, 0).text = "City"
        presentation.save(memory)
    elif suffix == ".xlsx":
        with xlsxwriter.Workbook(memory) as workbook:
            workbook.add_worksheet().write(0, 0, "City")
            workbook.add_worksheet("empty")
    elif suffix == ".html":
        return b"<p>x</p><table><tr><td>City</td><td>Fare</td></tr></table><table><tr><td>layout</td></tr></table>"
    else:
        return b"City,Fare\nBonn,40\n"
    return memory.getvalue()


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".html", ".csv"])
def test_tables_are_counted(suffix: str) -> None:
    assert read_bytes(f"x{suffix}", made(suffix), CFG).tables == 1


@pytest.mark.parametrize("kind", [b"slideshow", b"template"])
def test_slide_shows_and_templates_are_presentations(kind: bytes) -> None:
    memory = BytesIO()
    with ZipFile(BytesIO(made(".pptx"))) as whole, ZipFile(memory, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, whole.read(name).replace(b"presentation.main+xml", kind + b".main+xml"))
    assert read_bytes("x.ppsx", memory.getvalue(), CFG).text == "City"


def test_a_drawing_is_read_without_its_scripts() -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>no()</script><style>a{}</style><text>words</text></svg>"
    assert read_bytes("x.svg", svg, CFG).text == "text: words"


def test_reading_loads_no_parser_before_a_file_needs_it() -> None:
    heavy = "pypdfium2 pikepdf docx pptx python_calamine lxml chardet markdown_it olefile email.parser"
    code = f"import sys, ingest.read; print([m for m in {heavy.split()!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# What the manifest expects and this reader rightly does otherwise.
_OTHERWISE = {
    "tika__NullHeader.docx": "its text is whole and can be read",
    "tika__testEXCEL_4.xls": "only LibreOffice reads Excel 4, where it is installed",
    "tika__testWORKS2000.wps": "LibreOffice reads it where it is installed",
    "tika__testZipEncrypted.zip": "one of its two files is not encrypted and is read, the other is a note",
    "tika__testEXCEL_big_numbers.xlsx": "the needle spans cells of two rows and names one",
    "tika__big-preamble.html": "the needle is Russian read with a wrong encoding",
    "docling__drawingml.docx": "the needle is the position of a drawing",
}


def odd_files() -> list[Any]:
    folder = os.environ.get("RAGSTONE_EVAL")
    if not folder:
        skip = pytest.mark.skip(reason="RAGSTONE_EVAL does not name a folder that holds odd_files/")
        return [pytest.param("", {}, marks=skip)]
    root = Path(folder) / "odd_files"
    rows = map(json.loads, (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        pytest.param(str(root / "files" / row["file"]), row, id=row["file"])
        for row in rows
        if supported(row["file"], IngestConfig()) and row["file"] not in _OTHERWISE
    ]


def _scanned(row: dict[str, Any]) -> bool:
    return row["expect"] == "ocr" and bool(row.get("needle"))


def squeezed(text: str) -> str:
    return "".join(text.replace("|", "").split())


@pytest.mark.parametrize(("path", "row"), odd_files())
def test_odd_real_files(path: str, row: dict[str, Any]) -> None:
    if row["category"] == "bomb":
        code = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000,) * 2)\n"
            "from pathlib import Path; from core.config import IngestConfig; from core.errors import ReadError\n"
            "from ingest.read import read_file\n"
            "try: sys.exit(len(read_file(Path(sys.argv[1]), IngestConfig()).text) > 100_000)\n"
            "except ReadError: pass"
        )
        subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
        return
    without_ocr = IngestConfig(ocr="off")
    if row["expect"] in ("reject", "password", "ocr", "limit"):
        failure(Path(path), without_ocr)
        return
    try:
        document = read_file(Path(path), without_ocr)
    except ReadError:
        assert row["expect"] in ("partial", "skip")  # of a kind that is named, where it is not read
        return
    covered = "".join(document.text[section.start : section.end] for section in document.sections)
    assert squeezed(covered) == squeezed(document.text)
    if row["expect"] == "extract":
        assert [needle for needle in row["needle"] if squeezed(needle) not in squeezed(document.text)] == []


@pytest.mark.slow
@pytest.mark.parametrize(("path", "row"), [p for p in odd_files() if not p.values[1] or _scanned(p.values[1])])
def test_scans_are_recognised(path: str, row: dict[str, Any]) -> None:
    document = read_file(Path(path), CFG)
    assert [needle for needle in row["needle"] if squeezed(needle) not in squeezed(document.text)] == []
    assert document.ocr_pages == (1,)


def test_a_file_that_was_exchanged_for_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "marker.txt").write_text("a line of a file that nobody offered", encoding="utf-8")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "marker.txt")
    with pytest.raises(ReadError, match="a symbolic link"):
        read_file(link, CFG)
    assert "nobody offered" in read_file(link, CFG.model_copy(update={"follow_symlinks": True})).text
