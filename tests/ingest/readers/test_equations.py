"""Equations on a line, from Office and from web pages alike."""

import lxml.etree as etree
import pytest

from ingest.readers.equations import linear

M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def office(xml: str) -> str:
    return linear(etree.fromstring(f"<m:oMath {M}>{xml}</m:oMath>"))


def web(xml: str, space: str = "") -> str:
    return linear(etree.fromstring(f"<math{space}>{xml}</math>"))


def r(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def e(*parts: str) -> str:
    return "".join(f"<m:e>{part}</m:e>" for part in parts)


def fraction(above: str, below: str, about: str = "") -> str:
    return f"<m:f><m:fPr>{about}</m:fPr><m:num>{above}</m:num><m:den>{below}</m:den></m:f>"


def power(base: str, above: str) -> str:
    return f"<m:sSup><m:e>{base}</m:e><m:sup>{above}</m:sup></m:sSup>"


def index(base: str, below: str) -> str:
    return f"<m:sSub><m:e>{base}</m:e><m:sub>{below}</m:sub></m:sSub>"


def matrix(*rows: str) -> str:
    return f"<m:m>{''.join(f'<m:mr>{row}</m:mr>' for row in rows)}</m:m>"


SUM = (
    f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{r("i=1")}</m:sub><m:sup>{r("n")}</m:sup>'
    f"{e(index(r('a'), r('i')))}</m:nary>"
)
OF_X = f"<m:d>{e(r('x'))}</m:d>"
BRACKETS = '<m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr>'


@pytest.mark.parametrize(
    ("xml", "line"),
    [
        (fraction(r("3"), r("4")), "3/4"), (fraction(r("a+b"), r("2")), "(a+b)/2"),
        (fraction(r("a"), fraction(r("b"), r("c"))), "a/(b/c)"),
        (fraction(r("n"), r("k"), '<m:type m:val="noBar"/>'), "n choose k"),
        (power(r("10"), r("6")), "10^6"), (power(r("10"), r("−6")), "10^-6"), (power(r("x"), r("n+1")), "x^(n+1)"),
        (power(r("a+b"), r("2")), "(a+b)^2"), (power(f"<m:d>{e(r('a+b'))}</m:d>", r("2")), "(a+b)^2"),
        (index(r("x"), r("1")), "x_1"), (index(r("x"), r("i,j")), "x_(i,j)"),
        (f"<m:sSubSup><m:e>{r('x')}</m:e><m:sub>{r('i')}</m:sub><m:sup>{r('2')}</m:sup></m:sSubSup>", "x_i^2"),
        (f'<m:rad><m:radPr><m:degHide m:val="1"/></m:radPr><m:deg/>{e(r("2"))}</m:rad>', "√2"),
        (f"<m:rad><m:deg>{r('3')}</m:deg>{e(r('x+1'))}</m:rad>", "∛(x+1)"),
        (f"<m:rad><m:deg>{r('n')}</m:deg>{e(r('x'))}</m:rad>", "x^(1/n)"),
        (SUM, "∑_(i=1)^n a_i"),
        (f"<m:nary><m:sub>{r('0')}</m:sub><m:sup>{r('1')}</m:sup>{e(r('xdx'))}</m:nary>", "∫_0^1 xdx"),
        (matrix(e(r("1"), r("2")), e(r("3"), r("4"))), "[1, 2; 3, 4]"),
        (f"<m:d>{BRACKETS}{e(matrix(e(r('a'), r('b')), e(r('c'), r('d'))))}</m:d>", "[a, b; c, d]"),
        (f'<m:d><m:dPr><m:begChr m:val="|"/><m:endChr m:val="|"/></m:dPr>{e(r("x"))}</m:d>', "|x|"),
        (f"<m:func><m:fName>{r('sin')}</m:fName>{e(r('x'))}</m:func>", "sin x"),
        (f"<m:func><m:fName>{r('log')}</m:fName>{e(OF_X)}</m:func>", "log(x)"),
        (f"<m:limLow>{e(r('lim'))}<m:lim>{r('x→0')}</m:lim></m:limLow>", "lim_(x→0)"),
        (f"<m:eqArr>{e(r('x&amp;=1'), r('y&amp;=2'))}</m:eqArr>", "x=1; y=2"),
        (f'<m:acc><m:accPr><m:chr m:val="̂"/></m:accPr>{e(r("x"))}</m:acc>', "x̂"),
        (r("𝑥𝒚") + r("=") + r("π"), "xy=π"),
        (f'<m:phant><m:phantPr><m:show m:val="0"/></m:phantPr>{e(r("gone"))}</m:phant>{r("seen")}', "seen"),
    ],
)  # fmt: skip
def test_equations_of_office(xml: str, line: str) -> None:
    assert office(xml) == line


@pytest.mark.parametrize("space", ["", ' xmlns="http://www.w3.org/1998/Math/MathML"'])
@pytest.mark.parametrize(
    ("xml", "line"),
    [
        ("<mfrac><mn>3</mn><mn>4</mn></mfrac>", "3/4"), ("<msup><mn>2</mn><mn>10</mn></msup>", "2^10"),
        ("<msup><mn>10</mn><mrow><mo>−</mo><mn>6</mn></mrow></msup>", "10^-6"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac>", "(a+b)/2"),
        ("<msub><mi>x</mi><mi>i</mi></msub>", "x_i"), ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_i^2"),
        ("<msqrt><mn>2</mn></msqrt>", "√2"), ("<mroot><mn>27</mn><mn>3</mn></mroot>", "∛27"),
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", "E = mc^2"),
        ("<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
         "∑_(i = 1)^n i"),
        ("<mrow><mo>[</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd>"
         "<mn>4</mn></mtd></mtr></mtable><mo>]</mo></mrow>", "[1, 2; 3, 4]"),
        ("<mfenced><mi>x</mi><mi>y</mi></mfenced>", "(x, y)"), ("<mi>sin</mi><mi>x</mi>", "sin x"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x̄"),
        ("<semantics><mn>5</mn><annotation encoding='application/x-tex'>5</annotation></semantics>", "5"),
        ("<mmultiscripts><mi>C</mi><mprescripts/><mn>6</mn><mn>14</mn></mmultiscripts>", "_6^14C"),
        ("<mphantom><mn>9</mn></mphantom><mtext>rate</mtext>", "rate"),
    ],
)  # fmt: skip
def test_equations_of_the_web(xml: str, line: str, space: str) -> None:
    assert web(xml, space) == line


def test_an_equation_nested_without_end_is_read_as_its_text() -> None:
    xml = r("1")
    for _ in range(70):
        xml = power(xml, r("2"))
    assert office(xml).count("2") == 70
    assert web("<mrow>" * 200 + "<mn>7</mn>" + "</mrow>" * 200) == "7"


@pytest.mark.parametrize(
    "name", ["f", "sSup", "rad", "nary", "d", "m", "func", "acc", "limLow", "sPre", "eqArr", "bar"]
)
def test_parts_that_are_missing_are_nothing(name: str) -> None:
    assert "None" not in office(f"<m:{name}/>")
    assert "None" not in web(
        "".join(f"<{tag}/>" for tag in ("mfrac", "msup", "mroot", "mover", "mtable", "mmultiscripts"))
    )


def test_what_is_no_part_of_the_figure_beside_it_stands_apart() -> None:
    assert office(r("2") + fraction(r("3"), r("4"))) == "2 3/4"
    assert office(fraction(r("1"), r("2")) + power(r("r"), r("2"))) == "1/2 r^2"
    assert office(r("2") + power(r("10"), r("3")) + r("5")) == "2 10^3 5"
    assert office(r("1") + r("2") + power(r("x"), r("2"))) == "12x^2"
    assert web("<mn>2</mn><mfrac><mn>3</mn><mn>4</mn></mfrac><mi>x</mi>") == "2 3/4 x"
