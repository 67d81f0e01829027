"""EQ fields: what Word draws with them is read, the code is not."""

import lxml.etree as etree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.readers.equation_field import shown_by
from ingest.readers.word_line import Beside, line_of

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (r" EQ \f(1,2) ", "1/2"), (r"EQ \f(a+b,c)", "(a+b)/c"), (r"eq \o\ac(○,12)", "⑫"), (r"EQ \o\ac(□,有)", "(有)"),
        (r'EQ \* jc2 \* "Font:Ming" \* hps10 \o\ad(\s\up 9(nián),年)', "年"), (r"EQ \r(3,x)", "√x [root 3]"),
        (r"EQ x\s\up8(2)", "x^2"), (r"EQ \a \al \co2(1,2,3,4)", "1, 2, 3, 4"), (r"EQ \x(a\,b)", "a,b"),
        (r"REF x", ""), ("EQUATION x", ""),
    ],
)  # fmt: skip
def test_a_field_shows_what_it_draws(code: str, text: str) -> None:
    assert shown_by(code) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("\\fosr(),;1a "), max_size=40))
def test_any_code_ends_and_loses_no_letter_of_plain_text(code: str) -> None:
    assert shown_by(f"EQ last{code}").startswith("last")


def test_a_circled_number_stands_in_its_line() -> None:
    def field(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    code = r"<w:r><w:instrText> eq \o\ac(○,</w:instrText></w:r><w:r><w:instrText>1)</w:instrText></w:r>"
    source = f'<w:p xmlns:w="{W}">{field("begin")}{code}{field("end")}<w:r><w:t> first</w:t></w:r></w:p>'
    assert line_of(etree.fromstring(source), Beside()) == "① first"
