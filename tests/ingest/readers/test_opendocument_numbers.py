"""Numbers of lists and headings in OpenDocument: what the reader sees before each item."""

from core.config import IngestConfig
from ingest.read import read_bytes

_SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "style")
)


def lines(body: str, styles: str) -> list[str]:
    xml = (
        f'<office:document {_SPACES} xmlns:loext="urn:org:documentfoundation:names:experimental:office:xmlns:loext:1.0"'
        f' office:mimetype="application/vnd.oasis.opendocument.text"><office:styles>{styles}</office:styles>'
        f"<office:body><office:text>{body}</office:text></office:body></office:document>"
    )
    return read_bytes("a.fodt", xml.encode(), IngestConfig()).text.split("\n")


def level(number: int, form: str, more: str = "") -> str:
    return f'<text:list-level-style-number text:level="{number}" style:num-format="{form}" {more}/>'


def listed(*items: str, about: str = 'text:style-name="L"') -> str:
    return (
        f"<text:list {about}>" + "".join(f"<text:list-item>{item}</text:list-item>" for item in items) + "</text:list>"
    )


def p(text: str) -> str:
    return f"<text:p>{text}</text:p>"


CLAUSES = (
    '<text:list-style style:name="L">' + level(1, "1", 'style:num-suffix="."')
    + level(2, "1", 'style:num-suffix="." text:display-levels="2"') + level(3, "a", 'style:num-suffix=")"')
    + "</text:list-style>"
)  # fmt: skip


def test_levels_are_counted_each_and_begin_anew_below_the_next_item() -> None:
    inner = listed(p("Fee") + listed(p("net"), p("gross"), about=""), p("Term"), about="")
    assert lines(listed(p("Scope") + inner, p("Law") + listed(p("Court"), about="")), CLAUSES) == [
        "1. Scope", "1.1. Fee", "a) net", "b) gross", "1.2. Term", "2. Law", "2.1. Court",
    ]  # fmt: skip


def test_a_list_goes_on_where_it_says_so_and_else_begins_anew() -> None:
    again = listed(p("three"), about='text:style-name="L" text:continue-numbering="true"')
    body = listed(p("one"), p("two")) + p("between") + again + listed(p("anew"))
    assert lines(body, CLAUSES) == ["1. one", "2. two", "between", "3. three", "1. anew"]
    stated = '<text:list text:style-name="L"><text:list-item text:start-value="7"><text:p>x</text:p></text:list-item>'
    assert lines(stated + f"<text:list-item>{p('y')}</text:list-item></text:list>", CLAUSES) == ["7. x", "8. y"]


def test_chinese_clauses_have_the_form_that_is_stated_whole() -> None:
    whole = level(1, "一, 二, 三, ...", 'loext:num-list-format="第%1%条"')
    style = f'<text:list-style style:name="L">{whole}</text:list-style>'
    assert lines(listed(p("总则"), p("价款")), style) == ["第一条 总则", "第二条 价款"]


def test_bullets_and_lists_without_a_style_keep_their_mark() -> None:
    style = '<text:list-style style:name="L"><text:list-level-style-bullet text:level="1"/></text:list-style>'
    assert lines(listed(p("a")) + listed(p("b"), about=""), style) == ["- a", "- b"]


def test_headings_are_numbered_where_their_outline_is() -> None:
    outline = (
        '<text:outline-style><text:outline-level-style text:level="1" style:num-format="1"/>'
        '<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
    )
    plain = ' text:is-list-header="true"'
    rows = ((1, "Scope", ""), (2, "Fee", ""), (2, "Term", ""), (1, "Annex", plain))
    body = "".join(f'<text:h text:outline-level="{level}"{more}>{text}</text:h>' for level, text, more in rows)
    assert [*filter(None, lines(body, outline))] == ["1 Scope", "1.1 Fee", "1.2 Term", "Annex"]
    bare = outline.replace('num-format="1"', 'num-format=""')
    assert [*filter(None, lines(body, bare))] == ["Scope", "Fee", "Term", "Annex"]
