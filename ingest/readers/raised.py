"""Raised and lowered characters in a line of text: exponents and indices, or the mark of a note beside a number.

`28¹ days` with a note 1 must not be read as 281 days, and `10⁶` not as 106.
"""

import re
from collections.abc import Iterable

from ingest.readers.text import collapse

_UNITS = frozenset(
    "m cm mm km dm um nm µm μm ft in yd mi s ms sec min h d kg g mg mol l ml J K Pa kPa bar N W kW V A Hz px cd cal "
    "miles feet 米 厘米 毫米 千米 公里 分米 微米 秒 分 尺 寸".split()
)
_SHORT_WORDS = frozenset(
    "it is so to of at on we us me he an as by do go if my no or up id hr am pm eu uk un de en et la le du il au ou an "
    "zu da es er so wo ja".split()
)
_MARK = re.compile(r"[*†‡§¶#]+|[®™©℠]|TM|SM")
_ORDINAL = re.compile(r"st|nd|rd|th|ers?|res?|e|ème|eme|os?|as?|º|ª", re.I)
_BRACKETED = re.compile(r"[\[(（【〔［][^\[\]()]*[\])）】〕］]")
_SIGNED = re.compile(r"[-+]\s*[\w.]+|[\d]*[-+]")
_BASE = re.compile(r"[A-Za-zÀ-ÿΑ-ωµμΩ]+$|[一-鿿]{1,2}$|\d[\d.,'\u00a0\u202f]*$")
_BRACKETED_SUM = re.compile(r"[(\[][^()\[\]]{0,40}[-+*/^−][^()\[\]]{0,40}[)\]]$")
_ATOM = re.compile(r"[-+]?[\w.,′″'*]+[-+]?|[-+*]")
_MINUS = str.maketrans("−–﹣－＋", "----+")


def may_be_raised(text: str) -> bool:
    """Whether somebody may have raised some characters: fonts whose boxes are those of the ink make 一, quotes and
    dashes stand as small and as high as an exponent does.
    """
    return any((c.isalnum() and (c < "\u2e80" or c == "注")) or _MARK.fullmatch(c) for c in text)


def raised(before: str, text: str, mark: bool = False) -> str:
    """A raised text as it is written after `before`: `^6`, or ` [1]` for the mark of a note. `mark`: it is known to be.

    >>> [raised(before, text) for before, text in (("10", "-6"), ("12 m", "2"), ("28", "1"), ("Zurich", "3"))]
    ['^-6', '^2', ' [1]', ' [3]']
    """
    said = collapse(text).translate(_MINUS)
    if not said:
        return text
    if _BRACKETED.fullmatch(said):
        return f" {said}"
    if _MARK.fullmatch(said):
        return said
    if len(said) > 24 or said.count(" ") > 2:  # a text that happens to stand higher
        return f" {collapse(text)} "
    if before[-1:].isdigit() and _ORDINAL.fullmatch(said) and len(said) + said.isdecimal() > 1:
        return said
    if before[-1:].isdigit() and said in ("o", "°", "º"):
        return "°"
    if mark or not _is_power(before, said):
        return f" [{said}]"
    return f"^{said}" if _ATOM.fullmatch(said) else f"^({said})"


def lowered(before: str, text: str) -> str:
    """A lowered text as it is written after `before`.

    >>> "CO" + lowered("CO", "2"), "x" + lowered("x", "i"), "10" + lowered("10", "2")
    ('CO2', 'x_i', '10_2')
    """
    said = collapse(text)
    if not said:
        return text
    if not _ATOM.fullmatch(said):
        return f"_({said})" if len(said) <= 24 else f" {said} "
    alone = re.search(r"(?:^|[^A-Za-z])[A-Za-z]$", before)
    return f"_{said}" if before[-1:].isdigit() or (alone and said.isalpha() and len(said) == 1) else said


def written(pieces: Iterable[tuple[str, str]]) -> str:
    """A line of pieces, each a text and its height: `super`, `sub`, or nothing where it stands on the line.

    >>> written([("10", ""), ("-", "super"), ("6", "super"), (" mol", "")])
    '10^-6 mol'
    """
    said, held, height = "", "", ""
    for text, level in pieces:
        if held and text and level != height:
            said += (raised if height == "super" else lowered)(said[-60:], held)
            held = ""
        height = level if text else height
        held, said = (held + text, said) if level else (held, said + text)
    return said + (raised if height == "super" else lowered)(said[-60:], held) if held else said


def _is_power(before: str, said: str) -> bool:
    """Whether a raised text is an exponent, no mark."""
    if _SIGNED.fullmatch(said):
        return True
    if before.endswith((")", "]")):
        return bool(_BRACKETED_SUM.search(before))
    found = _BASE.search(before)
    if found is None:
        return False
    base = found[0]
    if base[0].isdigit():
        return bool(re.fullmatch(r"(?:.*\D)?(?:10|2)", before)) and "," not in said
    if "," in said:
        return False
    if base in _UNITS or base[-1:] in _UNITS & {"米", "尺", "寸", "秒"}:
        return base != "in" or bool(re.search(r"\d\s*in$", before))
    return len(base) <= 2 and not _is_cjk(base) and base.lower() not in _SHORT_WORDS


def _is_cjk(text: str) -> bool:
    return "一" <= text[-1] <= "鿿"
