"""Numbers and dates in one notation: 一百二十 and 120, 二〇二六年三月五日, March 5, 2026 and 2026-03-05.

All of it reads text that `core.text.fold` has folded, and takes time in proportion to its length.
"""

import re
from collections.abc import Iterator

_LONGEST = 40  # characters up to which a numeral with 十, 百, 千 or 万 is reckoned
_ZEROS, _ONES, _UNITS = "零〇○◯", "一二三四五六七八九", {"十": 10, "百": 100, "千": 1000}
_LEGAL = "壹贰叁肆伍陆柒捌玖"  # the forms of _ONES in contracts and invoices, where none may be altered into another
_PLAIN = str.maketrans(f"{_ZEROS}o{_ONES}{_LEGAL}参两拾佰仟", f"00000{'123456789' * 2}32十百千")
_TENS = str.maketrans({"廿": "二十", "卅": "三十"})

_DIGIT = rf"[{_ONES}{_ZEROS}]"
_NUMERAL = re.compile(
    rf"第[{_ONES}{_ZEROS}十百千万两]+"  # of an article or a chapter: `core.text` has tokens for them
    # Digit by digit, as years are written: a zero may be typed as a circle, as the letter o or as 0.
    rf"|(?P<digits>[{_ONES}](?:[{_ONES}{_ZEROS}o0]{{2,}}+|[{_ONES}{_ZEROS}](?=年)))(?![十百千万亿])"
    rf"|(?P<legal>(?:[{_LEGAL}参][拾佰仟]|拾[{_LEGAL}])[{_LEGAL}参{_ZEROS}拾佰仟]*)"
    rf"|(?P<sum>(?:[{_ONES}两]万(?={_DIGIT}[十百千])|[{_ONES}两][十百千]|十[{_ONES}])(?:{_DIGIT}|[十百千])*"
    rf"|[廿卅][{_ONES}]?|[{_ONES}零](?=点{_DIGIT}(?![十点分刻])))"
    rf"(?:点(?P<decimals>{_DIGIT}+)|万(?P<rest>{_DIGIT}+[十百千](?:{_DIGIT}|[十百千])*))?"
)
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH_NAME = "|".join(rf"{name}|{name[:3]}" for name in _MONTHS) + "|sept"
_CHINESE_DATE = re.compile(
    rf"(?P<year>\d{{4}}|[{_ONES}][{_ONES}{_ZEROS}o0]{{3}}) ?年 ?(?P<month>\d{{1,2}}|[{_ONES}十]{{1,3}}) ?月"
    rf"(?: ?(?P<day>\d{{1,2}}|[{_ONES}十]{{1,3}}) ?[日号])?"
)
_ISO_DATE = re.compile(
    r"\d{4}(?<![\w./-]....)(?:(?P<sign>[-/.])(?P<m>\d{1,2})(?P=sign)(?P<d>\d{1,2})(?![\d/-]|\.\d)|-(?P<month>\d{2})(?![\w/-]|\.\d))"
)
_ENGLISH_DATE = re.compile(
    rf"(?P<month>{_MONTH_NAME})\b(?:\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?)?\.?,? (?P<year>\d{{4}})\b"
)
_DAY_BEFORE = re.compile(r"(?<!\w)(\d{1,2})(?:st|nd|rd|th)? (?:of )?\Z")
_LONGEST_DAY = len(" 29th of ")


def arabic(numeral: str) -> str:
    """A Chinese or Arabic numeral in digits, up to 万; one too long to be a number of anything keeps its beginning.

    >>> arabic("一百零三"), arabic("二〇"), arabic("壹仟贰佰"), arabic("一万二千")
    ('103', '20', '1200', '12000')
    """
    numeral = numeral.translate(_TENS).translate(_PLAIN)
    if numeral.isdigit():
        return numeral.lstrip("0")[:_LONGEST] or "0"
    if len(numeral) > _LONGEST:
        return numeral[:_LONGEST]
    total = section = number = 0
    for c in numeral:
        if c in _UNITS:
            section += (number or 1) * _UNITS[c]
            number = 0
        elif c == "万":
            total += (section + number) * 10_000
            section = number = 0
        else:
            number = number * 10 + int(c)
    return str(total + section + number)


def numbers(folded: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Where Chinese numerals and dates stand in a folded text, and what they are in digits.

    万 and 亿 stay words of their own, as in 120万. A date gives its month too.

    >>> [token for _, token in numbers("二〇二六年起补助壹佰贰拾万元，三十二点五天")]
    ['2026', '120', '32.5']
    >>> [[token for _, token in numbers(text)] for text in ("2026年3月5日", "5 march 2026")]
    [['2026-03', '2026-03-05'], ['2026-03', '2026-03-05']]
    """
    if not folded.isascii():
        for match in _NUMERAL.finditer(folded):
            whole, decimals = match.group(), match["decimals"]
            if decimals:
                yield match.span(), f"{arabic(match['sum'])}.{decimals.translate(_PLAIN)}"
            elif whole[0] != "第":
                yield match.span(), arabic(whole)
    for span, year, month, day in _dates(folded):
        if len(year) == 4 and 1 <= month <= 12 and day <= 31:
            named = f"{year}-{month:02}"
            yield from ((span, name) for name in (named, f"{named}-{day:02}") if day or name == named)


def _dates(folded: str) -> Iterator[tuple[tuple[int, int], str, int, int]]:
    """Where what looks like a date stands, its year, its month, and its day or 0."""
    for match in _CHINESE_DATE.finditer(folded) if "年" in folded else ():
        month, day = arabic(match["month"]), arabic(match["day"] or "0")
        yield match.span(), arabic(match["year"]), int(month), int(day)
    for match in _ISO_DATE.finditer(folded):
        yield match.span(), match.group()[:4], int(match["m"] or match["month"]), int(match["d"] or 0)
    for match in _ENGLISH_DATE.finditer(folded):
        start = match.start()
        before = _DAY_BEFORE.search(folded[max(start - _LONGEST_DAY, 0) : start])
        if not match["day"] and before:
            start -= before.end() - before.start()
        if start and folded[start - 1].isalnum():
            continue
        month = next(n for n, name in enumerate(_MONTHS, 1) if name.startswith(match["month"][:3]))
        yield (start, match.end()), match["year"], month, int(match["day"] or (before[1] if before else 0))
