"""PowerPoint presentations."""

from copy import deepcopy
from datetime import date, datetime
from io import BytesIO
from typing import Any

import lxml.etree as etree
import pytest
from pptx import Presentation
from pptx.chart.data import BubbleChartData, CategoryChartData, XyChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE
from pptx.enum.dml import MSO_THEME_COLOR
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml import parse_xml
from pptx.shapes.placeholder import SlidePlaceholder
from pptx.util import Inches, Pt

from core.config import IngestConfig
from core.types import Document
from ingest.readers.drawing import diagram_lines
from ingest.readers.slides import read_pptx

A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'


def deck(changed: datetime | None = None) -> Document:
    presentation = Presentation()
    presentation.core_properties.keywords = "总结, Sales"
    if changed:
        presentation.core_properties.modified = changed
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    for placeholder, text in zip(first.placeholders, ["年度总结", "Revenue grew"], strict=True):
        assert isinstance(placeholder, SlidePlaceholder)
        placeholder.text_frame.text = text
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(0), Inches(0), Inches(1), Inches(1)).text_frame.text = "inside a group"
    notes = first.notes_slide.notes_text_frame
    assert notes is not None
    notes.text = "Say hello"
    presentation.slides.add_slide(presentation.slide_layouts[6])
    third = presentation.slides.add_slide(presentation.slide_layouts[6])
    table = third.shapes.add_table(2, 2, Inches(0), Inches(0), Inches(2), Inches(1)).table
    for i, text in enumerate(["Region", "Sales", "North", "100"]):
        table.cell(i // 2, i % 2).text = text
    memory = BytesIO()
    presentation.save(memory)
    return read_pptx(memory.getvalue(), IngestConfig())


def test_a_slide_is_a_page_under_its_title_with_groups_tables_and_notes() -> None:
    document = deck()
    assert [(s.page, s.headings, document.text[s.start : s.end]) for s in document.sections] == [
        (1, ("年度总结",), "年度总结\nRevenue grew\ninside a group\n\nSay hello"),
        (3, (), "| Region | Sales |\n| --- | --- |\n| North | 100 |"),
    ]


def test_slides_are_counted_empty_ones_named_and_the_first_title_is_that_of_the_document() -> None:
    document = deck()
    assert (document.pages, document.empty_pages, document.title) == (3, (2,), "年度总结")


def test_tags_and_date_come_from_the_properties_and_not_from_the_template() -> None:
    document = deck(datetime(2025, 1, 2))
    assert (document.tags, document.date) == (("总结", "Sales"), "2025-01-02")
    assert deck().date == ""


def test_hidden_slides_and_what_nobody_sees_on_a_slide_are_left_out_and_named() -> None:
    presentation = Presentation()
    for text in ("seen", "MARKER one"):
        slide = presentation.slides.add_slide(presentation.slide_layouts[6])
        slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1)).text_frame.text = text
    presentation.slides[1].element.set("show", "0")
    slide = presentation.slides[0]
    slide.shapes.add_textbox(Inches(-5), Inches(1), Inches(3), Inches(1)).text_frame.text = "MARKER two"
    hidden = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1))
    hidden.text_frame.text = "MARKER three"
    next(hidden.element.iter("{*}cNvPr")).set("hidden", "1")
    tiny = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1))
    tiny.text_frame.text = "MARKER four"
    tiny.text_frame.paragraphs[0].runs[0].font.size = Pt(1)
    clear = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1))
    clear.text_frame.text = "MARKER five"
    clear.text_frame.paragraphs[0].runs[0].font.fill.background()
    memory = BytesIO()
    presentation.save(memory)
    document = read_pptx(memory.getvalue(), IngestConfig())
    assert (document.text, document.pages, document.empty_pages) == ("seen", 2, ())
    assert document.notes == (
        "hidden slides were left out: 2",
        "11 characters that nobody sees were left out: they are not displayed",
        "9 characters that nobody sees were left out: they stand outside of the page",
        "10 characters that nobody sees were left out: they are too small to be read",
        "10 characters that nobody sees were left out: they are transparent",
    )


def saved(presentation: Any) -> Document:
    memory = BytesIO()
    presentation.save(memory)
    return read_pptx(memory.getvalue(), IngestConfig())


def blank() -> tuple[Any, Any]:
    presentation = Presentation()
    return presentation, presentation.slides.add_slide(presentation.slide_layouts[6])


def box(slide: Any, text: str = "") -> Any:
    frame = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1)).text_frame
    frame.text = text
    return frame


def test_a_box_with_an_equation_is_read_once_and_whole() -> None:
    presentation, slide = blank()
    frame = box(slide, "the rate is ")
    equation = (
        "<m:oMath><m:f><m:num><m:r><m:t>3</m:t></m:r></m:num><m:den><m:r><m:t>4</m:t></m:r></m:den></m:f></m:oMath>"
    )
    spaces = (
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
        'xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    )
    frame.paragraphs[0]._p.append(parse_xml(f"<a14:m {spaces}>{equation}</a14:m>"))
    shape = slide.shapes[0]._element
    both = parse_xml(f'<mc:AlternateContent {spaces}><mc:Choice Requires="a14"/><mc:Fallback/></mc:AlternateContent>')
    shape.getparent().replace(shape, both)
    both[0].append(shape)
    both[1].append(deepcopy(shape))
    assert saved(presentation).text == "the rate is 3/4"


def test_charts_are_tables_with_their_title() -> None:
    presentation, slide = blank()
    data = CategoryChartData(number_format="0%")
    data.categories = ["Q1", "Q2"]
    data.add_series("North", (0.5, 0.25))
    data.add_series("South", (0.1, None))
    place = Inches(1), Inches(1), Inches(4), Inches(3)
    chart = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *place, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Share of sales"
    assert saved(presentation).text.split("\n") == [
        "Share of sales", "|  | North | South |", "| --- | --- | --- |", "| Q1 | 50% | 10% |", "| Q2 | 25% |  |",
    ]  # fmt: skip


def test_points_of_a_scatter_chart_stand_beside_each_other() -> None:
    presentation, slide = blank()
    data = XyChartData()
    series = data.add_series("Load")
    for x, y in ((1, 2.5), (2, 7)):
        series.add_data_point(x, y)
    place = Inches(1), Inches(1), Inches(4), Inches(3)
    slide.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER, *place, data)
    assert saved(presentation).text.split("\n")[-2:] == ["| 1 | 2.5 |", "| 2 | 7 |"]


def test_merged_cells_of_a_table_stand_for_all_that_they_cover() -> None:
    presentation, slide = blank()
    table = slide.shapes.add_table(3, 3, Inches(0), Inches(0), Inches(2), Inches(1)).table
    for i, text in enumerate(["部门", "人数", "", "", "早班", "中班", "客服部", "9", "7"]):
        table.cell(i // 3, i % 3).text = text
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(0, 1).merge(table.cell(0, 2))
    assert saved(presentation).text.split("\n") == [
        "| 部门 | 人数 早班 | 人数 中班 |", "| --- | --- | --- |", "| 客服部 | 9 | 7 |",
    ]  # fmt: skip


def test_footers_and_words_of_the_master_are_read_once() -> None:
    presentation = Presentation()
    shape = presentation.slides.add_slide(presentation.slide_layouts[6]).shapes
    text = shape.add_textbox(Inches(1), Inches(1), Inches(1), Inches(1))
    text.text_frame.text = "ACME internal"
    presentation.slide_layouts[6].shapes._spTree.append(text._element)
    for name in ("one", "two"):
        slide = presentation.slides.add_slide(presentation.slide_layouts[6])
        footer = box(slide, "Quality department")._txBody.getparent()
        footer.find("{*}nvSpPr/{*}nvPr").append(parse_xml(f'<p:ph {P} type="ftr" idx="11"/>'))
        box(slide, name)
    document = saved(presentation)
    assert document.text.split() == "ACME internal one Quality department two".split()
    assert document.empty_pages == (1,)


def test_text_of_the_colour_that_its_shape_or_cell_is_filled_with_is_left_out_and_named() -> None:
    presentation, slide = blank()
    blue, white = RGBColor(0x1F, 0x4E, 0x79), RGBColor(0xFF, 0xFF, 0xFF)

    def written(text: str, colour: RGBColor | None, ground: RGBColor | None, themed: float | None = None) -> None:
        shape = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1))
        run = shape.text_frame.paragraphs[0].add_run()
        run.text = text
        for fill, own in ((run.font.fill, colour), (shape.fill, ground)):
            if own is not None:
                fill.solid()
                fill.fore_color.rgb = own
            elif themed is not None:
                fill.solid()
                fill.fore_color.theme_color = MSO_THEME_COLOR.ACCENT_1
        if themed:
            shape.fill.fore_color.brightness = themed

    written("marker", blue, blue)
    written("marker", None, None, themed=0)
    written("lighter", None, None, themed=0.4)
    written("title", white, blue)
    written("over a picture, perhaps", white, None)
    cell = slide.shapes.add_table(1, 1, Inches(1), Inches(2), Inches(3), Inches(1)).table.cell(0, 0)
    cell.fill.solid()
    cell.fill.fore_color.rgb = blue
    for text, colour in (("fare ", white), ("marker", blue)):
        run = cell.text_frame.paragraphs[0].add_run()
        run.text, run.font.color.rgb = text, colour
    document = saved(presentation)
    assert "marker" not in document.text
    assert all(text in document.text for text in ("lighter", "title", "over a picture", "fare"))
    assert document.notes == ("18 characters that nobody sees were left out: they have the colour of their ground",)


def test_raised_struck_and_numbered_text() -> None:
    presentation, slide = blank()
    frame = box(slide, "28")
    for text, baseline, strike in (("1", "30000", ""), (" days, CO", "", ""), ("2", "-25000", ""), ("gone", "", "x")):
        run = frame.paragraphs[0].add_run()
        run.text = text
        properties = run._r.get_or_add_rPr()
        if baseline:
            properties.set("baseline", baseline)
        if strike:
            properties.set("strike", "sngStrike")
    for text, kind in (("first", "arabicPeriod"), ("second", "arabicPeriod"), ("third", "ea1ChsPeriod")):
        paragraph = frame.add_paragraph()
        paragraph.text = text
        paragraph._p.get_or_add_pPr().append(parse_xml(f'<a:buAutoNum {A} type="{kind}"/>'))
    document = saved(presentation)
    assert document.text.split("\n") == ["28 [1] days, CO2", "1. first", "2. second", "一. third"]
    assert document.notes == ("4 characters were left out: they are struck out",)


def diagram(*points: str, links: str = "") -> str:
    inner = "".join(points)
    return (
        f'<dgm:dataModel xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" {A}>'
        f"<dgm:ptLst>{inner}</dgm:ptLst><dgm:cxnLst>{links}</dgm:cxnLst></dgm:dataModel>"
    )


def point(key: str, text: str, kind: str = "node") -> str:
    return f'<dgm:pt modelId="{key}" type="{kind}"><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>'


def test_smart_art_is_a_list_in_its_order() -> None:
    link = '<dgm:cxn srcId="{}" destId="{}" srcOrd="{}"/>'
    links = link.format(0, 2, 1) + link.format(0, 1, 0) + link.format(1, 3, 0) + link.format(3, 1, 0)
    xml = diagram(point("0", "", "doc"), *(point(str(i), f"step {i}") for i in (2, 3, 1, 9)), links=links)
    assert diagram_lines(etree.fromstring(xml)) == ["- step 1", "  - step 3", "- step 2", "- step 9"]


def test_a_diagram_on_a_slide_stands_where_it_was_drawn() -> None:
    presentation, slide = blank()
    box(slide, "before")
    part = Part(
        PackURI("/ppt/diagrams/data1.xml"), "application/x", slide.part.package, diagram(point("1", "plan")).encode()
    )
    key = slide.part.relate_to(part, "http://schemas.openxmlformats.org/officeDocument/2006/relationships/diagramData")
    slide.shapes._spTree.append(parse_xml(
        f'<p:graphicFrame {P} {A}><a:graphic><a:graphicData><dgm:relIds r:dm="{key}" '
        'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"/>'
        "</a:graphicData></a:graphic></p:graphicFrame>"
    ))  # fmt: skip
    box(slide, "after")
    assert saved(presentation).text.split("\n") == ["before", "- plan", "after"]


@pytest.mark.parametrize(("alpha", "seen"), [("0", False), ("1000", False), ("0%", False), ("40000", True), ("", True)])
def test_transparent_letters_are_left_out(alpha: str, seen: bool) -> None:
    presentation, slide = blank()
    box = slide.shapes.add_textbox(Inches(1), Inches(1), Inches(3), Inches(1))
    box.text_frame.text = "MARKER"
    run = box.text_frame.paragraphs[0].runs[0]
    run.font.color.rgb = RGBColor(0, 0, 0)
    colour = next(run._r.iter("{*}srgbClr"))
    if alpha:
        colour.append(
            colour.makeelement("{http://schemas.openxmlformats.org/drawingml/2006/main}alpha", {"val": alpha})
        )
    document = saved(presentation)
    assert ("MARKER" in document.text) == seen
    assert bool(document.notes) != seen


def test_the_points_of_a_chart_read_as_they_are_shown() -> None:
    presentation, slide = blank()
    data = CategoryChartData(number_format="#,##0")
    data.categories = [date(2025, 1, 1), date(2025, 2, 1)]
    data.add_series("Load", (12450, 980))
    slide.shapes.add_chart(XL_CHART_TYPE.LINE, Inches(1), Inches(1), Inches(4), Inches(3), data)
    assert saved(presentation).text.split("\n")[-2:] == ["| 2025-01-01 | 12,450 |", "| 2025-02-01 | 980 |"]


def test_the_sizes_of_bubbles_stand_beside_their_points() -> None:
    presentation, slide = blank()
    data = BubbleChartData()
    data.add_series("Risk").add_data_point(1, 2, 30)
    slide.shapes.add_chart(XL_CHART_TYPE.BUBBLE, Inches(1), Inches(1), Inches(4), Inches(3), data)
    assert saved(presentation).text.split("\n")[-3:] == [
        "|  | Risk | Risk: size |",
        "| --- | --- | --- |",
        "| 1 | 2 | 30 |",
    ]
