"""XML that is running text: JATS, DocBook, TEI."""

import pytest

from core.config import IngestConfig
from ingest.read import read_bytes
from tests.ingest.readers.test_markup import xml

TABLE = "<tr><th>Drug</th><th>mg</th></tr><tr><td>A</td><td>5</td></tr>"
LINES = "| Drug | mg |\n| --- | --- |\n| A | 5 |"


def test_an_article_of_a_journal() -> None:
    document = xml(
        '<article xmlns:m="http://www.w3.org/1998/Math/MathML"><front><journal-meta><journal-id>X</journal-id>'
        "</journal-meta><article-meta><title-group><article-title>On pumps</article-title></title-group><contrib-group>"
        "<contrib><name><surname>Lee</surname><given-names>Ann</given-names></name></contrib></contrib-group>"
        "<abstract><p>10<sup>6</sup> cells</p></abstract></article-meta></front><body><sec><title>Methods</title>"
        "<p>Rate <inline-formula><m:math><m:mfrac><m:mn>3</m:mn><m:mn>4</m:mn></m:mfrac></m:math></inline-formula> of "
        '<italic>it</italic>.</p><list list-type="order"><list-item><p>one</p></list-item></list><sec>'
        "<title>Site</title>"
        f"<p>Bonn</p></sec><table-wrap><label>Table 1</label><table>{TABLE}</table></table-wrap></sec></body></article>"
    )
    assert document.title == "On pumps"
    assert [section.headings for section in document.sections] == [
        ("On pumps",), ("On pumps", "Methods"), ("On pumps", "Methods", "Site"),
    ]  # fmt: skip
    for expected in ("Lee Ann", "10^6 cells", "Rate 3/4 of it.", "one", LINES):
        assert expected in document.text
    assert "surname" not in document.text


@pytest.mark.parametrize("space", ["", ' xmlns="http://docbook.org/ns/docbook"'])
def test_a_book_of_a_program(space: str) -> None:
    document = xml(
        f"<book{space}><info><title>Pump guide</title></info><chapter><title>Start</title>"
        "<para>Press <emphasis>the</emphasis> button, wait <emphasis role='strikethrough'>5</emphasis>6 s.</para>"
        "<orderedlist><listitem><para>one</para></listitem><listitem><para>two</para></listitem></orderedlist>"
        "<section><title>Values</title><table><title>Limits</title><tgroup cols='3'><thead><row><entry>Name</entry>"
        "<entry>Low</entry><entry>High</entry></row></thead><tbody><row><entry morerows='1'>P</entry><entry>1</entry>"
        "<entry>2</entry></row><row><entry namest='c2' nameend='c3'>3</entry></row></tbody></tgroup></table>"
        "<programlisting>a = 1\n  b = 2</programlisting></section></chapter></book>"
    )
    assert document.text.split("\n\n") == [
        "Pump guide", "Start", "Press the button, wait 6 s.", "1. one", "2. two", "Values",
        "Limits\n| Name | Low | High |\n| --- | --- | --- |\n| P | 1 | 2 |\n| P | 3 | 3 |", "a = 1\n  b = 2",
    ]  # fmt: skip
    assert document.notes == ("1 characters were left out: they are struck out",)


def test_a_text_of_an_edition() -> None:
    document = xml(
        '<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Letters</title></titleStmt>'
        "</fileDesc></teiHeader><text><body><div><head>Letter 1</head><p>Dear <persName>Ann</persName>, the rent is "
        "<choice><sic>fourty</sic><corr>forty</corr></choice>.</p><lg><l>line one</l><l>line two</l></lg><table>"
        '<row role="label"><cell>Drug</cell><cell>mg</cell></row><row><cell>A</cell><cell>5</cell></row></table>'
        "</div></body></text></TEI>"
    )
    assert document.title == "Letters"
    assert document.text.split("\n\n")[2:] == ["Dear Ann, the rent is forty.", "line one\nline two", LINES]


def test_data_with_such_a_name_stays_data() -> None:
    assert xml("<article><name>bolt</name><price>5</price></article>").text == "name: bolt\nprice: 5"


@pytest.mark.parametrize(
    "cells", ["namest='c9' nameend='c1'", "morerows='-1'", "morerows='99999999'", "cols='x' rows=''"]
)
def test_spans_that_make_no_sense_lose_no_text(cells: str) -> None:
    row = f"<row><entry {cells}>one</entry><entry>two</entry></row>"
    table = f"<table><tgroup><tbody>{row}</tbody></tgroup></table>"
    text = xml(f"<chapter><title>t</title><para>p</para>{table}</chapter>").text
    assert "one" in text
    assert "two" in text


def test_a_fiction_book_is_read_by_its_chapters() -> None:
    source = (
        '<?xml version="1.0"?><FictionBook xmlns="http://www.gribuser.ru/xml/fictionbook/2.0"><description><title-info>'
        "<genre>sf</genre><book-title>The Book</book-title><lang>en</lang></title-info></description><body><section>"
        "<title><p>One</p><p>Start</p></title><p>Hello <emphasis>you</emphasis>.</p><poem><stanza><v>a</v><v>b</v>"
        "</stanza></poem><section><title><p>Deep</p></title><p>x</p></section></section></body>"
        '<binary id="c" content-type="image/png">QUFB</binary></FictionBook>'
    )
    document = read_bytes("x.fb2", source.encode(), IngestConfig())
    assert document.title == "The Book"
    assert [s.headings for s in document.sections] == [("The Book",), ("One Start",), ("One Start", "Deep")]
    assert document.text == "The Book\n\nOne Start\n\nHello you.\n\na\nb\n\nDeep\n\nx"


def test_an_equation_of_which_there_is_but_tex_is_read_and_of_two_forms_one() -> None:
    source = r"\documentclass{minimal}\usepackage{x}\begin{document}$$E=mc^2$$\end{document}"
    only = f"<disp-formula><tex-math>{source}</tex-math></disp-formula>"
    both = "<alternatives><math><mn>7</mn></math><tex-math>$x_7$</tex-math></alternatives>"
    both = f"<inline-formula>{both}</inline-formula>"
    text = xml(f"<article><body><sec><title>A</title><p>So {only} and {both}.</p></sec></body></article>").text
    assert " ".join(text.split()) == "A So E=mc^2 and 7."
