"""The number of a spreadsheet's cell -> the text that is seen, by its number format.

Source: ISO/IEC 29500-1, 18.8.30 (numFmts, built-in ids) and 18.8.31. What depends on the reader's own country (the
short date, the currency of the system) is written as ISO 8601 or without it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache

GENERAL = "General"
_DAYS_1904 = 1462  # between the two calendars
_BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??",
    14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm",
    21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)", 39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)", 41: "#,##0", 42: "#,##0", 43: "#,##0.00", 44: "#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss",
    47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
    # Chinese: the ids that programs write there.
    27: 'yyyy"年"m"月"', 28: 'm"月"d"日"', 29: 'm"月"d"日"', 30: "m-d-yy", 31: 'yyyy"年"m"月"d"日"', 32: 'h"时"mm"分"',
    33: 'h"时"mm"分"ss"秒"', 34: "h:mm AM/PM", 35: "h:mm:ss AM/PM", 36: 'yyyy"年"m"月"', 50: 'yyyy"年"m"月"',
    51: 'm"月"d"日"', 52: 'yyyy"年"m"月"', 53: 'm"月"d"日"', 54: 'm"月"d"日"', 55: "h:mm AM/PM", 56: "h:mm:ss AM/PM",
    57: 'yyyy"年"m"月"', 58: 'm"月"d"日"',
}  # fmt: skip
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|(?:\\|!(?=[.,0#?]))(?P<escaped>.)|_(?P<pad>.)|\*(?P<fill>.)|\[(?P<bracket>[^\]]*)\]'
    r"|(?P<general>General)|(?P<noon>AM/PM|A/P|上午/下午)"
    r"|(?P<date>y+|m+|d+|h+|s+(?:\.0+)?|a{3,4}|b{2,4}|e+|g+)"
    r"|(?P<number>[#0?][#0?,]*(?:\.[#0?,]*)?(?:E[+-][#0?]+)?|\.[#0?]+)|(?P<other>.)",
    re.I | re.S,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d+)?)")
_SPAN = re.compile(r"h+|m+|s+", re.I)
_SIGNS = {"%": "percent", "/": "slash"}  # where they stand for themselves, and not as words
_WORDS = ("text", "slash")
_HAN = "〇一二三四五六七八九"
_FORMAL = "零壹贰叁肆伍陆柒捌玖"
_MOST_DIGITS = 400  # of a format, and of what it shows


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    """One of the parts that semicolons separate: what it is made of, and the numbers that it is for."""

    tokens: tuple[_Token, ...]
    condition: tuple[str, float] | None = None

    def has(self, *kinds: str) -> bool:
        return any(token.kind in kinds for token in self.tokens)


def code_of(number: int) -> str:
    """The format of a built-in id; `General` for one that is not known."""
    return _BUILT_IN.get(number, GENERAL)


def general(value: Decimal) -> str:
    """A number without a format, with all its digits.

    >>> general(Decimal("5.0")), general(Decimal("0.30000000000000004")), general(Decimal("6.22202E+18"))
    ('5', '0.3', '6222020000000000000')
    """
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and abs(value) < Decimal("1e21"):
        return f"{value.quantize(Decimal(1)):f}" if value else "0"
    return f"{float(value):.15g}"


def shown(raw: str, code: str, since_1904: bool = False) -> str:
    """A number, as the file writes it, by a format.

    >>> shown("123", "00000"), shown("0.075", "0.0%"), shown("1.260416666666667", "[h]:mm")
    ('00123', '7.5%', '30:15')
    >>> shown("45717", 'yyyy"年"m"月"d"日"'), shown("-1234.5", '#,##0.00 "€";[Red](#,##0.00 "€")')
    ('2025年3月1日', '(1,234.50 €)')
    """
    try:
        value = Decimal(raw)
    except InvalidOperation:
        return raw
    if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS or len(code) > _MOST_DIGITS:
        return raw
    sections = _sections(code)
    section, negative = _section(sections, value)
    if section is None or not section.tokens:
        return "" if section is not None and code.strip() and ";" in code else general(value)
    if section.has("date", "span"):
        return _moment(value, section, since_1904)
    text = _number(abs(value), section)
    return f"-{text}" if negative and re.search("[1-9]", text) else text


@lru_cache(maxsize=20_000)
def shown_text(text: str, code: str) -> str:
    """A text by a format, of which the fourth section, or one with `@`, is for texts.

    >>> shown_text("七", '0"元";;;@"元"'), shown_text("七", ";;;"), shown_text("七", "0.00")
    ('七元', '', '七')
    """
    sections = _sections(code) if len(code) <= _MOST_DIGITS else ()
    place = _Token("text", "@")
    section = sections[3] if len(sections) > 3 else next((s for s in sections[-1:] if place in s.tokens), None)
    if section is None:
        return text
    return "".join(text if token == place else token.text for token in section.tokens if token.kind in _WORDS).strip()


@lru_cache(maxsize=500)
def _sections(code: str) -> tuple[_Section, ...]:
    sections: list[_Section] = []
    tokens: list[_Token] = []
    condition: tuple[str, float] | None = None
    for found in _TOKEN.finditer(code):
        kind, text = found.lastgroup or "other", found[found.lastgroup or 0]
        if kind == "other" and text == ";":
            sections.append(_Section(tuple(tokens), condition))
            tokens, condition = [], None
        elif kind == "bracket":
            if limit := _CONDITION.fullmatch(text):
                condition = limit[1], float(limit[2])
            elif _SPAN.fullmatch(text):
                tokens.append(_Token("span", text.lower()))
            elif text.startswith("$") and (sign := text[1:].partition("-")[0]):
                tokens.append(_Token("text", sign))
            elif text.upper().startswith("DBNUM"):
                tokens.append(_Token("numerals", text[5:6]))
        elif kind in ("quoted", "escaped", "other", "pad"):
            tokens.append(
                _Token(_SIGNS.get(text, "text") if kind == "other" else "text", " " if kind == "pad" else text)
            )
        elif kind != "fill":
            tokens.append(_Token(kind, text))
    return (*sections, _Section(tuple(tokens), condition))


def _section(sections: Sequence[_Section], value: Decimal) -> tuple[_Section | None, bool]:
    """The part that a number is written by, and whether a minus stands before it."""
    ways = {"<": float.__lt__, ">": float.__gt__, "<=": float.__le__, ">=": float.__ge__, "=": float.__eq__}
    if any(section.condition for section in sections[:2]):
        for section in sections[:3]:
            if section.condition is None:
                return section, value < 0
            sign, limit = section.condition
            if (float(value) != limit) if sign == "<>" else ways[sign](float(value), limit):
                return section, value < 0
        return None, value < 0
    if value < 0 and len(sections) > 1:
        return sections[1], False
    if value == 0 and len(sections) > 2:
        return sections[2], False
    return sections[0], value < 0


def _number(value: Decimal, section: _Section) -> str:
    tokens = section.tokens
    places = [i for i, token in enumerate(tokens) if token.kind == "number"]
    slash = next((i for i, token in enumerate(tokens) if token.kind == "slash"), None)
    if slash is not None and places and places[0] < slash and (below := _below(tokens[slash + 1 :])):
        return _fraction(value, below, whole=sum(place < slash for place in places) > 1)
    value = value.scaleb(2 * sum(token.kind == "percent" for token in tokens))
    written = _by_patterns(value, [tokens[i].text for i in places])
    pieces: list[str] = []
    for i, token in enumerate(tokens):
        if token.kind == "number":
            pieces.append(written[places.index(i)])
        elif token.kind == "general" or (token.kind == "text" and token.text == "@"):
            pieces.append(general(value))
        elif token.kind == "percent":
            pieces.append("%")
        elif token.kind in _WORDS:
            pieces.append(token.text)
    text = "".join(pieces).strip()
    numerals = next((token.text for token in tokens if token.kind == "numerals"), "")
    if numerals in ("1", "2") and section.has("general"):
        return re.sub(r"\d+(?:\.\d+)?", lambda found: _counted(found[0], numerals), text)
    return _han(text, numerals) if numerals else text


def _counted(text: str, kind: str) -> str:
    """A number in Chinese with the names of its places, as `General` has it: 壹佰贰拾叁, 一万零五.

    >>> _counted("10020305.5", "2"), _counted("110", "1")
    ('壹仟零贰万零叁佰零伍.伍', '一百一十')
    """
    whole, dot, part = text.partition(".")
    units, zero = ("拾佰仟", "零") if kind == "2" else ("十百千", "〇")
    written, owed = "", False
    for i, digit in enumerate(whole):
        place = len(whole) - i - 1
        if digit != "0":
            written += (zero if owed and written else "") + _han(digit, kind) + ("", *units)[place % 4]
        owed = digit == "0"
        if place % 4 == 0 and place and whole[max(i - 3, 0) : i + 1].strip("0"):
            written += ("万", "亿")[(place // 4 + 1) % 2]
    return (written or zero) + (f".{_han(part, kind)}" if dot else "")


def _by_patterns(value: Decimal, patterns: list[str]) -> list[str]:
    """The digits of a number for each run of placeholders: `000-0000` has two."""
    if not patterns:
        return []
    if len(patterns) == 1:
        return [_digits(value, patterns[0])]
    widths = [len(re.sub("[^#0?]", "", pattern)) for pattern in patterns]
    scale = len(patterns[-1]) - len(patterns[-1].rstrip(","))  # `0!.0,` writes ten thousands with a decimal
    text = _digits(value.scaleb(-3 * scale), "0" * sum(widths))
    found: list[str] = []
    for width in reversed(widths[1:]):
        text, piece = text[:-width], text[-width:]
        found.insert(0, piece)
    return [text, *found]


def _digits(value: Decimal, pattern: str) -> str:
    mantissa, _, exponent = pattern.upper().partition("E")
    if exponent:
        decimals = len(mantissa.partition(".")[2])
        text, _, power = f"{value:.{decimals}e}".partition("e")
        sign = "-" if power.startswith("-") else "+" if exponent[0] == "+" else ""
        return f"{text}E{sign}{power.lstrip('+-').zfill(len(exponent) - 1)}"
    whole, dot, part = mantissa.partition(".")
    for commas in (whole, part):
        value = value.scaleb(-3 * (len(commas) - len(commas.rstrip(","))))  # in thousands
    whole, part = whole.rstrip(","), part.rstrip(",")
    rounded = (
        value.quantize(Decimal(1).scaleb(-len(part)), ROUND_HALF_UP) if value.adjusted() + len(part) < 27 else value
    )
    left, _, right = f"{rounded:f}".partition(".")
    left = left.lstrip("0").zfill(whole.count("0")) if whole.count("0") else left.lstrip("0")
    if "," in whole:
        left = f"{int(left or 0):,}".rjust(len(left)) if left and not left.startswith("0") else left
    needed = len(part.rstrip("#?"))
    while len(right) > needed and right.endswith("0"):
        right = right[:-1]
    return (
        f"{left}.{right}" if right or (dot and needed) else left or ("" if "0" not in mantissa and not right else "0")
    )


def _below(tokens: Sequence[_Token]) -> str:
    """What stands below the stroke of a fraction: placeholders, or the digits of the only one that there may be."""
    said = "".join(token.text for token in tokens if token.kind in ("number", "text")).strip()
    found = re.match(r"[\d#?]+", said)
    return found[0] if found else ""


def _fraction(value: Decimal, below: str, *, whole: bool) -> str:
    """A number as a fraction, `whole`: behind its whole part: `1 1/4`."""
    from fractions import Fraction

    fixed = int(below) if below.isdigit() and int(below) else 0
    number = int(value) if whole else 0
    rest = Fraction(value - number)
    limit = min(10 ** max(len(below), 1) - 1, 9999)
    part = Fraction(round(rest * fixed), fixed) if fixed else rest.limit_denominator(limit)
    over, under = (round(rest * fixed), fixed) if fixed else (part.numerator, part.denominator)
    if part == 1 and whole:
        number, over = number + 1, 0
    pieces = [str(number)] if number or not over else []
    return " ".join([*pieces, f"{over}/{under}"] if over else pieces)


def _han(text: str, kind: str) -> str:
    return text.translate(str.maketrans("0123456789", _FORMAL if kind == "2" else _HAN)) if kind in "12" else text


def _moment(value: Decimal, section: _Section, since_1904: bool) -> str:
    tokens = section.tokens
    decimals = max((len(t.text.partition(".")[2]) for t in tokens if t.kind == "date"), default=0)
    seconds = round(float(value) * 86_400, decimals)
    if section.has("span"):
        return _span(seconds, tokens)
    days = seconds / 86_400 + (_DAYS_1904 if since_1904 else 0)
    if not 0 <= days < 2_958_466:
        return general(value)
    if days < 60:  # a calendar that has a 29 February 1900
        days += 1
    moment = datetime(1899, 12, 30) + timedelta(seconds=round(days * 86_400, decimals))
    if not decimals and moment.microsecond:
        moment = (moment + timedelta(microseconds=500_000)).replace(microsecond=0)
    noon = section.has("noon")
    pieces: list[str] = []
    for i, token in enumerate(tokens):
        if token.kind == "date":
            pieces.append(_date_piece(moment, token.text, _is_minutes(tokens, i), noon))
        elif token.kind == "noon":
            before, after = token.text.split("/")
            pieces.append(before if moment.hour < 12 else after)
        elif token.kind in _WORDS and token.text != "@":
            pieces.append(token.text)
    numerals = next((token.text for token in tokens if token.kind == "numerals"), "")
    text = "".join(pieces).strip()
    return _han_date(text) if numerals in ("1", "2") else text


def _han_date(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        number = int(found[0])
        if len(found[0]) > 2:
            return _han(found[0], "1")
        tens, ones = divmod(number, 10)
        return (_HAN[tens] if tens > 1 else "") + ("十" if tens else "") + (_HAN[ones] if ones or not tens else "")

    return re.sub(r"\d+", one, text)


def _is_minutes(tokens: tuple[_Token, ...], at: int) -> bool:
    """Whether an `m` counts minutes: it follows hours, or seconds follow it."""
    timed = [(i, t.text[0].lower()) for i, t in enumerate(tokens) if t.kind in ("date", "span")]
    place = next(n for n, (i, _) in enumerate(timed) if i == at)
    return (place > 0 and timed[place - 1][1] == "h") or (place + 1 < len(timed) and timed[place + 1][1] == "s")


def _date_piece(moment: datetime, code: str, minutes: bool, noon: bool) -> str:
    letter, size = code[0].lower(), len(code)
    if letter in "ye":
        return f"{moment.year % 100:02}" if letter == "y" and size < 3 else str(moment.year)
    if letter == "m" and not minutes:
        name = _MONTHS[moment.month - 1]
        return (str(moment.month), f"{moment.month:02}", name[:3], name, name[0])[min(size, 5) - 1]
    if letter == "d":
        name = _DAYS[moment.weekday()]
        return (str(moment.day), f"{moment.day:02}", name[:3], name)[min(size, 4) - 1]
    if letter == "a":
        return ("星期" if size > 3 else "") + "一二三四五六日"[moment.weekday()]
    if letter in "gb":
        return ""
    if letter == "s":
        whole, _, part = code.partition(".")
        fraction = f".{moment.microsecond:06}"[: len(part) + 1] if part else ""
        return f"{moment.second:0{min(len(whole), 2)}}{fraction}"
    number = moment.minute if letter == "m" else (moment.hour % 12 or 12) if noon else moment.hour
    return f"{number:0{min(size, 2)}}"


def _span(seconds: float, tokens: tuple[_Token, ...]) -> str:
    """A length of time: the unit in brackets takes all that the larger ones would."""
    units = {"h": 3600, "m": 60, "s": 1}
    left = abs(seconds)
    pieces: list[str] = ["-"] if seconds < 0 else []
    for token in tokens:
        letter = token.text[:1].lower()
        if token.kind in ("span", "date") and letter in units:
            whole, _, part = token.text.partition(".")
            count = left // units[letter]
            left -= count * units[letter]
            fraction = f"{left:.{len(part)}f}"[1:] if part else ""
            pieces.append(f"{int(count):0{len(whole)}}{fraction}")
        elif token.kind in _WORDS:
            pieces.append(token.text)
    return "".join(pieces).strip()
