"""Equations of Office (OMML) and of web pages (MathML) -> a line of text: `3/4`, `10^6`, `√(x+1)`, `[a, b; c, d]`.

Sources: ISO/IEC 29500-1, 22.1 (Office Math Markup Language); MathML Core; the linear form follows Unicode Technical
Note 28, without what only places things.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_STYLED = re.compile("[\U0001d400-\U0001d7ff]+")  # letters of mathematics: italic, bold, script
_INVISIBLE = re.compile("[\u2061-\u2064\u200b\u200c\u200d\ufeff]")
_ATOM = re.compile(r"[-+−]?(?:\w|[.′″%∞…°*†]|(?<=\d),(?=\d))+")
_SIGN = str.maketrans("−", "-")
_GROUPED = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|\|[^|]*\||√\w+")
_WIDE_OPERATOR = re.compile(r"[∏∐∑∫∬∭∮⋀⋁⋂⋃]|lim\w*|max|min|sup|inf|arg\w*")
_ROOTS = {"": "√", "2": "√", "3": "∛", "4": "∜"}
_ACCENTS = {
    "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "¯": "\u0304", "‾": "\u0304", "→": "\u20d7",
    "⃗": "\u20d7", "˙": "\u0307", ".": "\u0307", "¨": "\u0308", "_": "\u0332",
}  # fmt: skip
_DEEPEST = 60  # levels of an equation; deeper ones are read as the text they hold


def linear(equation: "Element") -> str:
    """An equation on one line. `equation` is an `oMath`, an `oMathPara` or a `math` element, whatever its namespace."""
    text = _read(equation, 0)
    return " ".join(_INVISIBLE.sub("", text).split())


def _read(element: "Element", depth: int) -> str:
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    name = tag.rpartition("}")[2]
    if depth > _DEEPEST:
        return "".join(map(str, element.itertext()))
    if name in _NOTHING:
        return ""
    rule = _RULES.get(name)
    if rule:
        return rule(element, depth + 1)
    if name in _TOKENS:
        return _token("".join(map(str, element.itertext())))
    return _row(element, depth)


def _row(element: "Element", depth: int) -> str:
    """What stands side by side: `2 3/4` and `3/4 x`, where the one would else be part of the other."""
    written, whole = "", False
    for child in element:
        text = _read(child, depth + 1)
        composed = isinstance(child.tag, str) and child.tag.rpartition("}")[2] in _COMPOSED
        if (whole and text[:1].isalnum()) or (composed and written[-1:].isdigit() and text[:1].isdigit()):
            written += " "
        written += text
        whole = composed and text[-1:].isalnum()
    return written


def beside(before: str, text: str) -> str:
    """An equation in a line of text, apart from a figure that stands before it.

    >>> beside("by 2", "3/4"), beside("by ", "3/4"), beside("log", "2")
    (' 3/4', '3/4', '2')
    """
    return f" {text}" if before[-1:].isdigit() and text[:1].isdigit() else text


def _token(text: str) -> str:
    return _STYLED.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)


def _child(element: "Element", name: str, depth: int) -> str:
    found = element.find(f"{{*}}{name}")
    return _read(found, depth) if found is not None else ""


def _children(element: "Element") -> "list[Element]":
    return [child for child in element if isinstance(child.tag, str) and not child.tag.endswith("Pr")]


def _stated(element: "Element", name: str, other: str = "") -> str:
    """A value among the properties of an OMML element; `other` where it is not stated."""
    own = str(element.tag).rpartition("}")[2]
    found = element.find(f"{{*}}{own}Pr/{{*}}{name}")
    if found is None:
        return other
    return next((str(value) for key, value in found.attrib.items() if str(key).rpartition("}")[2] == "val"), "")


def grouped(text: str) -> str:
    """A part of a fraction or a power, in brackets where it is more than one thing."""
    text = text.strip()
    return text if not text or _ATOM.fullmatch(text) or _GROUPED.fullmatch(text) else f"({text})"


def _scripts(base: str, below: str = "", above: str = "") -> str:
    base = base if _WIDE_OPERATOR.fullmatch(base.strip()) else grouped(base)
    below, above = below.strip(), above.strip().translate(_SIGN)
    primes = above and not above.strip("′″‴'*†")
    low = f"_{grouped(below)}" if below else ""
    high = above if primes else f"^{grouped(above)}" if above else ""
    return base.strip() + low + high


def _fraction(above: str, below: str) -> str:
    return f"{grouped(above)}/{grouped(below)}"


def _root(inner: str, degree: str = "") -> str:
    inner, degree = inner.strip(), degree.strip()
    if degree in _ROOTS:
        return f"{_ROOTS[degree]}{grouped(inner)}"
    return f"{grouped(inner)}^(1/{grouped(degree)})"


def _accented(base: str, mark: str) -> str:
    base, mark = base.strip(), mark.strip()
    if len(base) == 1 and (mark in _ACCENTS or unicodedata.combining(mark[:1] or "a")):
        return base + _ACCENTS.get(mark, mark)
    return base


def _matrix(rows: Iterable[Iterable[str]]) -> str:
    return "; ".join(", ".join(cell.strip() for cell in row) for row in rows)


# --- OMML ------------------------------------------------------------------------------------------------------------


def _omml_fraction(element: "Element", depth: int) -> str:
    above, below = _child(element, "num", depth), _child(element, "den", depth)
    return f"{above} choose {below}" if _stated(element, "type") == "noBar" else _fraction(above, below)


def _omml_scripts(element: "Element", depth: int) -> str:
    base, below, above = (_child(element, name, depth) for name in ("e", "sub", "sup"))
    if str(element.tag).endswith("sPre"):
        return _scripts("", below, above) + base
    return _scripts(base, below, above)


def _omml_root(element: "Element", depth: int) -> str:
    hidden = _stated(element, "degHide", "0") not in ("0", "false", "off")
    return _root(_child(element, "e", depth), "" if hidden else _child(element, "deg", depth))


def _omml_nary(element: "Element", depth: int) -> str:
    sign = _stated(element, "chr", "∫") or "∫"
    below = "" if _is_on(element, "subHide") else _child(element, "sub", depth)
    above = "" if _is_on(element, "supHide") else _child(element, "sup", depth)
    return f"{_scripts(sign, below, above)} {_child(element, 'e', depth)}"


def _is_on(element: "Element", name: str) -> bool:
    return _stated(element, name, "0") not in ("0", "false", "off")


def _omml_delimiters(element: "Element", depth: int) -> str:
    parts = [child for child in _children(element) if str(child.tag).endswith("}e")]
    inner = f" {_stated(element, 'sepChr', '|')} ".join(_bare(part, depth) for part in parts)
    return f"{_stated(element, 'begChr', '(')}{inner.strip()}{_stated(element, 'endChr', ')')}"


def _bare(part: "Element", depth: int) -> str:
    """What stands between brackets; a matrix needs none of its own there."""
    inner = _children(part)
    if len(inner) == 1 and str(inner[0].tag).rpartition("}")[2] in ("m", "mtable"):
        return _omml_rows(inner[0], depth) if str(inner[0].tag).endswith("}m") else _mathml_rows(inner[0], depth)
    return _read(part, depth)


def _omml_rows(element: "Element", depth: int) -> str:
    return _matrix([_read(cell, depth) for cell in _children(row)] for row in _children(element))


def _omml_lines(element: "Element", depth: int) -> str:
    return "; ".join(_read(part, depth).replace("&", "").strip() for part in _children(element))


def _omml_function(element: "Element", depth: int) -> str:
    name, of = _child(element, "fName", depth).strip(), _child(element, "e", depth).strip()
    return f"{name}{of}" if of.startswith(("(", "[", "{")) else f"{name} {of}"


def _omml_limit(element: "Element", depth: int) -> str:
    base, limit = _child(element, "e", depth), _child(element, "lim", depth)
    return _scripts(base, limit) if str(element.tag).endswith("limLow") else _scripts(base, "", limit)


def _omml_accent(element: "Element", depth: int) -> str:
    return _accented(_child(element, "e", depth), _stated(element, "chr", "\u0302"))


def _omml_bar(element: "Element", depth: int) -> str:
    return _accented(_child(element, "e", depth), "\u0304" if _stated(element, "pos") == "top" else "\u0332")


def _omml_phantom(element: "Element", depth: int) -> str:
    return "" if _stated(element, "show", "1") in ("0", "false", "off") else _child(element, "e", depth)


# --- MathML ----------------------------------------------------------------------------------------------------------


def _parts(element: "Element", count: int, depth: int) -> list[str]:
    texts = [_read(child, depth) for child in _children(element)[:count]]
    return texts + [""] * (count - len(texts))


def _mathml_fraction(element: "Element", depth: int) -> str:
    above, below = _parts(element, 2, depth)
    bare = re.fullmatch(r"0(?:\.0+)?\s*(?:[a-z]+|%)?", element.get("linethickness", "").strip())
    return f"{above.strip()} choose {below.strip()}" if bare else _fraction(above, below)


def _mathml_scripts(element: "Element", depth: int) -> str:
    base, first, second = _parts(element, 3, depth)
    kind = str(element.tag).rpartition("}")[2]
    if kind in ("mover", "munder") and not _WIDE_OPERATOR.fullmatch(base.strip()) and len(first.strip()) == 1:
        return _accented(base, first)
    if kind in ("msup", "mover"):
        return _scripts(base, "", first)
    return _scripts(base, first, second) + (" " if kind == "munderover" else "")


def _mathml_multiscripts(element: "Element", depth: int) -> str:
    texts: list[list[str]] = [[]]
    for child in _children(element):
        if str(child.tag).rpartition("}")[2] == "mprescripts":
            texts.append([])
        else:
            texts[-1].append(_read(child, depth))
    behind, ahead = texts[0][1:], texts[1] if len(texts) > 1 else []
    before = _scripts("", "".join(ahead[::2]), "".join(ahead[1::2])) if ahead else ""
    return before + _scripts("".join(texts[0][:1]), "".join(behind[::2]), "".join(behind[1::2]))


def _mathml_rows(element: "Element", depth: int) -> str:
    return _matrix([_read(cell, depth) for cell in _children(row)] for row in _children(element))


def _mathml_table(element: "Element", depth: int) -> str:
    """A matrix; brackets beside it are its own."""
    rows = _mathml_rows(element, depth)
    before, after = element.getprevious(), element.getnext()
    fenced = [str(e.tag).rpartition("}")[2] == "mo" for e in (before, after) if e is not None]
    return rows if any(fenced) and len(element) > 1 else f"[{rows}]" if ", " in rows else rows


def _mathml_fenced(element: "Element", depth: int) -> str:
    marks = "".join(element.get("separators", ",").split()) or " "
    texts = [_bare(child, depth) if str(child.tag).endswith("mrow") else _read(child, depth)
             for child in _children(element)]  # fmt: skip
    inner = "".join(
        text + (f"{marks[min(i, len(marks) - 1)]} " if i + 1 < len(texts) else "") for i, text in enumerate(texts)
    )
    return f"{element.get('open', '(')}{inner.strip()}{element.get('close', ')')}"


def _mathml_operator(element: "Element", depth: int) -> str:
    sign = _token("".join(map(str, element.itertext()))).strip()
    spaced = sign in ("=", "≠", "≈", "≡", "≤", "≥", "<", ">", "±", "→", "⇒", "∈", "∝", "≪", "≫")
    alone = element.getprevious() is None
    return f" {sign} " if spaced and not alone else f"{sign} " if sign in (",", ";") else sign


def _mathml_function(element: "Element", depth: int) -> str:
    """An identifier; one of several letters is kept apart from what it stands before."""
    name = _token("".join(map(str, element.itertext()))).strip()
    after = element.getnext()
    follows = after is not None and str(after.tag).rpartition("}")[2] in ("mi", "mn", "mfrac", "msup", "msub", "msqrt")
    return f"{name} " if len(name) > 1 and name.isalpha() and follows else name


_COMPOSED = frozenset("f sSup sSub sSubSup rad mfrac msup msub msubsup msqrt mroot".split())
_TOKENS = frozenset(("t", "mn", "mtext", "ms"))
_NOTHING = frozenset(
    "rPr ctrlPr mphantom annotation annotation-xml none mprescripts maligngroup malignmark oMathParaPr "
    "instrText delText del moveFrom".split()
)
_RULES: "dict[str, Callable[[Element, int], str]]" = {
    "f": _omml_fraction, "sSup": _omml_scripts, "sSub": _omml_scripts, "sSubSup": _omml_scripts,
    "sPre": _omml_scripts, "rad": _omml_root, "nary": _omml_nary, "d": _omml_delimiters,
    "m": lambda element, depth: f"[{_omml_rows(element, depth)}]", "eqArr": _omml_lines, "func": _omml_function,
    "limLow": _omml_limit, "limUpp": _omml_limit, "acc": _omml_accent, "bar": _omml_bar, "phant": _omml_phantom,
    "br": lambda element, depth: " ", "mfrac": _mathml_fraction, "msup": _mathml_scripts, "msub": _mathml_scripts,
    "msubsup": _mathml_scripts, "mover": _mathml_scripts, "munder": _mathml_scripts, "munderover": _mathml_scripts,
    "mmultiscripts": _mathml_multiscripts, "msqrt": lambda element, depth: _root(_row(element, depth)),
    "mroot": lambda element, depth: _root(*_parts(element, 2, depth)), "mtable": _mathml_table,
    "mfenced": _mathml_fenced, "mo": _mathml_operator, "mi": _mathml_function,
    "mspace": lambda element, depth: " ",
    "semantics": lambda element, depth: _parts(element, 1, depth)[0],
    "maction": lambda element, depth: _parts(element, 1, depth)[0],
}  # fmt: skip
