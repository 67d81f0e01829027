"""Files that lie in Office files as objects are read with them."""

from io import BytesIO

import docx
import pytest
import xlsxwriter
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes
from tests.ingest.readers.compound import compound

CFG = IngestConfig()


def costs() -> bytes:
    memory = BytesIO()
    with xlsxwriter.Workbook(memory) as workbook:
        sheet = workbook.add_worksheet("Costs")
        for number, row in enumerate([("Item", "Cost"), ("Crane hire", 7310)]):
            sheet.write_row(number, 0, row)
    return memory.getvalue()


def holding(name: str, content: bytes, cfg: IngestConfig = CFG) -> Document:
    document = docx.Document()
    document.add_paragraph("See the file:")
    kind = RELATIONSHIP_TYPE.OLE_OBJECT if name.endswith(".bin") else RELATIONSHIP_TYPE.PACKAGE
    part = Part(PackURI(f"/word/embeddings/{name}"), "application/octet-stream", content, document.part.package)
    document.part.relate_to(part, kind)
    memory = BytesIO()
    document.save(memory)
    return read_bytes("a.docx", memory.getvalue(), cfg)


def packed(name: str, content: bytes) -> bytes:
    """What Windows' packager writes."""
    path = f"C:\\{name}".encode() + b"\0"
    rest = name.encode() + b"\0" + path + b"\0\0\3\0" + len(path).to_bytes(4, "little") + path
    rest += len(content).to_bytes(4, "little") + content
    return (len(rest) + 2).to_bytes(4, "little") + b"\2\0" + rest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Microsoft_Excel_Sheet.xlsx", costs()),
        ("oleObject1.bin", compound({"Package": costs()})),
        ("oleObject1.bin", compound({"\x01Ole10Native": packed("costs.csv", b"Item,Cost\nCrane hire,7310\n")})),
    ],
)
def test_a_file_that_lies_in_a_document_is_read_below_its_name(name: str, content: bytes) -> None:
    document = holding(name, content)
    assert document.text.startswith("See the file:\n\nItem | Cost\n")
    assert document.text.endswith("Item: Crane hire | Cost: 7310")
    assert document.tables == 1
    assert document.notes == ()
    assert "." in document.sections[-1].headings[0]


def test_an_object_that_no_reader_knows_is_counted() -> None:
    document = holding("oleObject1.bin", compound({"Equation Native": b"x" * 100}))
    assert (document.text, document.notes) == ("See the file:", ("files inside without a reader: 1 .bin",))


def test_what_unpacks_to_too_much_is_named() -> None:
    document = holding("a.xlsx", bytes(2_000_000), IngestConfig(archive_mb=1))
    assert document.text == "See the file:"
    assert document.notes == ("attached files were not read: they unpack to too much (ingest.archive_mb)",)


def test_the_numbers_of_a_chart_are_no_file_on_the_slide() -> None:
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["North"]
    data.add_series("Sales", (410,))
    place = Inches(1), Inches(1), Inches(4), Inches(3)
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *place, data)  # pyright: ignore[reportArgumentType]
    slide.shapes.add_ole_object(BytesIO(costs()), "Excel.Sheet.12", *place[:2])
    memory = BytesIO()
    presentation.save(memory)
    document = read_bytes("a.pptx", memory.getvalue(), CFG)
    assert document.text.count("Sales") == 1
    assert document.text.count("Crane hire") == 1
    assert [section.page for section in document.sections] == [1, None]
