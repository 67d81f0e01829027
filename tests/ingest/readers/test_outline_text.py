"""reStructuredText, AsciiDoc and Org: headings, tables, and what only programs read."""

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes

TABLE = "| City | Fare |\n| --- | --- |\n| Bonn | 40 |"


def read(name: str, source: str) -> Document:
    return read_bytes(name, source.encode(), IngestConfig())


def headings(document: Document) -> list[tuple[str, ...]]:
    return [section.headings for section in document.sections]


def test_restructured_text() -> None:
    document = read("x.rst", (
        "=====\nGuide\n=====\n\n.. |version| replace:: 3.2\n.. a comment\n   more of it\n\n"
        ".. _label:\n\n二级标题\n--------\n"
        "Use |version|, see :ref:`the page <x>` and `a link <http://a.b>`_.\n\nDeep\n~~~~\n.. note:: Take care.\n\n"
        "+------+------+\n| City | Fare |\n+======+======+\n| Bonn | 40   |\n+------+------+\n\n"
        "==== ====\nCity Fare\n==== ====\nBonn 40\n==== ====\n\nCode::\n\n  Not\n  ---\n"
    ))  # fmt: skip
    assert headings(document) == [("Guide",), ("Guide", "二级标题"), ("Guide", "二级标题", "Deep")]
    assert "Use 3.2, see the page and a link (http://a.b)." in document.text
    assert "Take care." in document.text
    assert document.text.count(TABLE) == 2
    assert "comment" not in document.text
    assert "more of it" not in document.text
    assert "label" not in document.text


def test_asciidoc() -> None:
    document = read("x.adoc", (
        "= Guide\n:version: 3.2\n// a comment\n////\nmore of it\n////\n\n[[anchor]]\n== Install ==\nUse {version}.\n\n"
        '[cols="1,1",options="header"]\n|===\n|City |Fare\n\n|Bonn\n|40\n|===\n\n----\n== code\n----\n'
        "=== Deep\n.Title\n* a\n"
    ))  # fmt: skip
    assert headings(document) == [("Guide",), ("Guide", "Install"), ("Guide", "Install", "Deep")]
    assert "Use 3.2." in document.text
    assert TABLE in document.text
    assert "== code" in document.text
    assert document.text.endswith("Deep\nTitle\n* a")
    assert "comment" not in document.text
    assert "anchor" not in document.text


def test_org() -> None:
    document = read("x.org", (
        "#+TITLE: Guide\n# a comment\n* TODO [#A] Install :work:home:\n:PROPERTIES:\n:ID: 77\n:END:\n"
        "See [[http://a.b][the page]].\n| City | Fare |\n|------+------|\n| Bonn | 40 |\n** Deep\n"
        "#+BEGIN_SRC py\n* code\n#+END_SRC\nlast"
    ))  # fmt: skip
    assert document.title == "Guide"
    assert headings(document) == [(), ("Install",), ("Install", "Deep")]
    assert "See the page (http://a.b)." in document.text
    assert TABLE in document.text
    assert document.text.endswith("Deep\n* code\nlast")
    assert "comment" not in document.text
    assert "77" not in document.text
