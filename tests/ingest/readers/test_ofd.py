"""OFD files are read by the places of their texts; closed Chinese formats are named."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes

NAMESPACE = 'xmlns:ofd="http://www.ofdspec.org/2016"'


def put(x: float, y: float, text: str, more: str = "") -> str:
    code = f'<ofd:TextCode X="0" Y="4" DeltaX="g {max(len(text) - 1, 1)} 4">{text}</ofd:TextCode>'
    return f'<ofd:TextObject Boundary="{x} {y} 80 5" Size="4" {more}>{code}</ofd:TextObject>'


def page(*puts: str, template: str = "") -> str:
    used = f'<ofd:Template TemplateID="{template}"/>' if template else ""
    layer = f"<ofd:Content><ofd:Layer>{''.join(puts)}</ofd:Layer></ofd:Content>"
    return f"<ofd:Page {NAMESPACE}>{used}{layer}</ofd:Page>"


def file(*pages: str, template: str = "", start: str = "OFD.xml") -> bytes:
    places = "".join(f'<ofd:Page ID="{n}" BaseLoc="Pages/Page_{n}/Content.xml"/>' for n in range(len(pages)))
    common = '<ofd:CommonData><ofd:TemplatePage ID="9" BaseLoc="Tpls/0.xml"/></ofd:CommonData>' if template else ""
    about = "<ofd:DocInfo><ofd:Title>采购通知</ofd:Title><ofd:CreationDate>2024-03-05</ofd:CreationDate></ofd:DocInfo>"
    root = f"<ofd:DocBody>{about}<ofd:DocRoot>Doc_0/Document.xml</ofd:DocRoot></ofd:DocBody>"
    made = BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr(start, f"<ofd:OFD {NAMESPACE}>{root}</ofd:OFD>")
        archive.writestr(
            "Doc_0/Document.xml", f"<ofd:Document {NAMESPACE}>{common}<ofd:Pages>{places}</ofd:Pages></ofd:Document>"
        )
        for number, content in enumerate(pages):
            archive.writestr(f"Doc_0/Pages/Page_{number}/Content.xml", content)
        if template:
            archive.writestr("Doc_0/Tpls/0.xml", template)
    return made.getvalue()


def read(data: bytes, name: str = "a.ofd") -> Document:
    return read_bytes(name, data, IngestConfig(ocr="off"))


def test_texts_are_read_from_top_to_bottom_whatever_their_order_in_the_file() -> None:
    second, first = put(20, 40, "二、交货期为三十日。"), put(20, 30, "一、采购水泵十台。")
    document = read(file(page(second, first), page(put(20, 30, "三、质保两年。"))))
    assert document.text == "一、采购水泵十台。\n二、交货期为三十日。\n\n三、质保两年。"
    assert [section.page for section in document.sections] == [1, 2]
    assert (document.title, document.date, document.pages) == ("采购通知", "2024-03-05", 2)


def test_texts_below_each_other_are_a_table() -> None:
    rows = [["品名", "单价", "数量"], ["水泵", "120", "3"], ["软管", "45", "9"]]
    puts = [put(20 + 40 * x, 30 + 8 * y, text) for y, row in enumerate(rows) for x, text in enumerate(row)]
    document = read(file(page(*puts)))
    assert document.text == "| 品名 | 单价 | 数量 |\n| --- | --- | --- |\n| 水泵 | 120 | 3 |\n| 软管 | 45 | 9 |"
    assert document.tables == 1


def test_what_a_template_shows_is_read_and_what_is_not_visible_is_not() -> None:
    hidden = put(20, 50, "底价九千元", 'Visible="false"')
    document = read(file(page(put(20, 40, "正文"), hidden, template="9"), template=page(put(20, 20, "电子发票"))))
    assert document.text == "电子发票\n正文"


@pytest.mark.parametrize("name", ["a.ofd", "a", "a.zip"])
def test_a_file_is_known_by_what_it_holds(name: str) -> None:
    assert "正文" in read(file(page(put(20, 40, "正文"))), name).text


def test_damage_and_pictures_are_named() -> None:
    with pytest.raises(ReadError, match="its pages are pictures"):
        read(file(page()))
    whole = file(page(put(20, 40, "正文")))
    with pytest.raises(ReadError, match="damaged"):
        read(whole[: len(whole) // 2])
    loops = page(put(20, 40, "正文").replace("g 1 4", "g 99999999999 4 g x"))
    assert "正文" in read(file(loops)).text
    far = put(20, 50, "远").replace("20 50", "1e12 nan")
    assert read(file(page(put(20, 40, "正文"), far))).text == "正文"


@pytest.mark.parametrize("name", ["thesis.caj", "notice.ceb"])
def test_closed_formats_are_named_with_what_to_do(name: str) -> None:
    with pytest.raises(ReadError, match="closed formats") as caught:
        read(b"CAJ\0\1\2\3", name)
    assert "print it to a PDF" in caught.value.hint
