"""Numbers as automatic numbering writes them (ISO/IEC 29500-1, 17.18.59: ST_NumberFormat)."""

from collections.abc import Callable

_DIGITS, _UNITS = "〇一二三四五六七八九", ("", "十", "百", "千")
_LEGAL, _LEGAL_UNITS = "零壹贰叁肆伍陆柒捌玖", ("", "拾", "佰", "仟")
_LEGAL_OLD = "零壹貳參肆伍陸柒捌玖"
_STEMS, _BRANCHES = "甲乙丙丁戊己庚辛壬癸", "子丑寅卯辰巳午未申酉戌亥"
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
    (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}  # fmt: skip
_MOST = 100_000  # a file may state any number


def numeral(number: int, form: str, pattern: str = "") -> str:
    """A number in a form of ST_NumberFormat; one that is not known is written in digits.

    `pattern` is that of the form `custom`: `001, 002, 003, ...`.

    >>> [numeral(12, form) for form in ("chineseCounting", "lowerRoman", "upperLetter", "ordinal", "decimal")]
    ['十二', 'xii', 'L', '12th', '12']
    """
    if form == "custom":
        width = len(pattern.partition(",")[0].strip())
        return str(number).zfill(min(width, 9))
    write = _FORMS.get(form)
    return write(number) if write and 0 <= number < _MOST else str(number)


def _chinese(number: int, digits: str, units: tuple[str, ...], zero: str) -> str:
    """A number in characters with units, up to 99,999: 一千零五."""
    if number >= 10_000:
        rest = number % 10_000
        gap = zero if 0 < rest < 1000 else ""
        tail = gap + _chinese(rest, digits, units, zero) if rest else ""
        return _chinese(number // 10_000, digits, units, zero) + "万" + tail
    if number == 0:
        return zero
    written, owed = "", False
    for place in (3, 2, 1, 0):
        digit = number // 10**place % 10
        if digit:
            written += (zero if owed and written else "") + digits[digit] + units[place]
        owed = not digit
    return written


def _counting(number: int) -> str:
    text = _chinese(number, _DIGITS, _UNITS, "零")
    return text[1:] if 10 <= number < 20 else text


def _short_counting(number: int) -> str:
    """With units up to 99, digit by digit beyond."""
    return _counting(number) if number < 100 else _by_digit(number)


def _by_digit(number: int) -> str:
    return "".join(_DIGITS[int(digit)] for digit in str(number))


def _japanese(number: int) -> str:
    """Without 一 before 十, 百 and 千, and without 零."""
    text = _chinese(number, _DIGITS, _UNITS, "〇")
    text = text.replace("〇", "") if number else text
    return "".join(c for i, c in enumerate(text) if not (c == "一" and text[i + 1 : i + 2] in ("十", "百", "千")))


def _roman(number: int) -> str:
    if not 0 < number < 4000:
        return str(number)
    written = ""
    for value, letters in _ROMAN:
        written += letters * (number // value)
        number %= value
    return written


def _letters(letters: str) -> Callable[[int], str]:
    """A to z, then aa, bb, as Word counts on."""

    def write(number: int) -> str:
        if not 0 < number <= 10 * len(letters):
            return str(number)
        return letters[(number - 1) % len(letters)] * ((number - 1) // len(letters) + 1)

    return write


def _within(first: str, count: int, beyond: Callable[[int], str] = str) -> Callable[[int], str]:
    """Characters that follow one another in Unicode, from that for 1 on."""
    return lambda number: chr(ord(first) + number - 1) if 0 < number <= count else beyond(number)


def _circled(number: int) -> str:
    if 20 < number <= 35:
        return chr(0x3251 + number - 21)
    if 35 < number <= 50:
        return chr(0x32B1 + number - 36)
    return _within("①", 20)(number)


def _cycle(number: int) -> str:
    return _STEMS[(number - 1) % 10] + _BRANCHES[(number - 1) % 12] if 0 < number <= 60 else str(number)


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _words(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{_ONES[number // 100]} hundred" + (f" {_words(number % 100)}" if number % 100 else "")
    return str(number)


def _ordinal_words(number: int) -> str:
    words = _words(number)
    if words.isdecimal():
        return _ordinal(number)
    head, last = words[: max(words.rfind(" "), words.rfind("-")) + 1], words.replace("-", " ").rpartition(" ")[2]
    return head + _ORDINALS.get(last, f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


_LATIN = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN = "абвгдежзиклмнопрстуфхцчшщыэюя"
_FORMS: dict[str, Callable[[int], str]] = {
    "decimalZero": lambda number: f"{number:02}",
    "upperRoman": _roman,
    "lowerRoman": lambda number: _roman(number).lower(),
    "upperLetter": _letters(_LATIN.upper()),
    "lowerLetter": _letters(_LATIN),
    "russianLower": _letters(_RUSSIAN),
    "russianUpper": _letters(_RUSSIAN.upper()),
    "ordinal": _ordinal,
    "cardinalText": lambda number: _words(number).capitalize(),
    "ordinalText": lambda number: _ordinal_words(number).capitalize(),
    "hex": lambda number: f"{number:X}",
    "numberInDash": lambda number: f"- {number} -",
    "chineseCounting": _short_counting,
    "taiwaneseCounting": _short_counting,
    "chineseCountingThousand": _counting,
    "taiwaneseCountingThousand": _counting,
    "ideographDigital": _by_digit,
    "japaneseDigitalTenThousand": _by_digit,
    "taiwaneseDigital": _by_digit,
    "japaneseCounting": _japanese,
    "chineseLegalSimplified": lambda number: _chinese(number, _LEGAL, _LEGAL_UNITS, "零"),
    "ideographLegalTraditional": lambda number: _chinese(number, _LEGAL_OLD, _LEGAL_UNITS, "零"),
    "ideographTraditional": lambda number: _STEMS[number - 1] if 0 < number <= 10 else str(number),
    "ideographZodiac": lambda number: _BRANCHES[number - 1] if 0 < number <= 12 else str(number),
    "ideographZodiacTraditional": _cycle,
    "ideographEnclosedCircle": _within("㊀", 10),
    "decimalEnclosedCircle": _circled,
    "decimalEnclosedCircleChinese": _circled,
    "decimalEnclosedFullstop": _within("⒈", 20),
    "decimalEnclosedParen": _within("⑴", 20),
    "decimalFullWidth": lambda number: "".join(chr(0xFF10 + int(digit)) for digit in str(number)),
    "decimalFullWidth2": lambda number: "".join(chr(0xFF10 + int(digit)) for digit in str(number)),
    "ganada": _letters("가나다라마바사아자차카타파하"),
    "chosung": _letters("ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"),
    "aiueoFullWidth": _letters(
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
    ),
    "irohaFullWidth": _letters(
        "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセス"
    ),
    "none": lambda number: "",
}
