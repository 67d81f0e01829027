"""Characters of the symbol fonts of Office (Symbol, Wingdings) -> the characters of Unicode that look the same.

A symbol font has pictures in the places of letters, stated as `F0xx` or as the letter. Sources: Unicode's mapping
tables for Adobe Symbol; Microsoft's charts of Wingdings. A ballot box is written ☑ where it is marked, by a tick or a
cross, and ☐ where it is not.
"""

TICKED, UNTICKED = "☑", "☐"

_SYMBOL = {
    0x20: " !∀#∃%&∋()∗+,−./0123456789:;<=>?",
    0x40: "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_",
    0x60: "‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    0xA1: "ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵",
    0xC0: "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓",
    0xE0: "◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪",
    0xF1: "〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
}
_WINGDINGS = {
    0x20: " ", 0x22: "✂", 0x28: "☎", 0x29: "✆", 0x2A: "✉", 0x36: "⌛", 0x41: "✌", 0x4A: "☺", 0x4C: "☹", 0x6C: "●",
    0x6D: "❍", 0x6E: "■", 0x6F: UNTICKED, 0x70: UNTICKED, 0x71: UNTICKED, 0x72: UNTICKED, 0x74: "⧫", 0x75: "◆",
    0x76: "❖", 0x77: "⬥", 0x78: TICKED, 0x80: "⓪①②③④⑤⑥⑦⑧⑨⑩⓿❶❷❸❹❺❻❼❽❾❿", 0x9E: "·•", 0xA1: "○", 0xA7: "▪",
    0xA8: UNTICKED, 0xAB: "★", 0xB2: "✧", 0xD8: "➢", 0xDF: "←→↑↓↖↗↙↘", 0xE8: "➔", 0xEF: "⇦⇨⇧⇩", 0xFB: "✗✓",
    0xFD: TICKED + TICKED,
}  # fmt: skip
_WINGDINGS_2 = {0x20: " ", 0x4F: "✗✓", 0x51: TICKED * 4, 0x97: "●", 0xA2: "■" + UNTICKED, 0xA4: UNTICKED}
_WINGDINGS_3 = {0x20: " ", 0x66: "←→↑↓", 0x7D: "▶", 0x84: "◀"}
_WEBDINGS = {0x20: " ", 0x61: "✓", 0x63: UNTICKED, 0x67: "■", 0x72: "✗"}

_CHARTS = {
    "symbol": _SYMBOL, "wingdings": _WINGDINGS, "wingdings 2": _WINGDINGS_2, "wingdings 3": _WINGDINGS_3,
    "webdings": _WEBDINGS,
}  # fmt: skip
_FONTS = {
    font: {first + i: char for first, chars in chart.items() for i, char in enumerate(chars)}
    for font, chart in _CHARTS.items()
}


def symbolic(font: str) -> bool:
    """Whether a font of this name has pictures in the places of letters."""
    return font.strip().casefold() in _FONTS


def unicode_of(text: str, font: str) -> str:
    r"""A text in a symbol font as Unicode; U+FFFD stands for a picture that has no character here.

    What is no letter of such a font, as Chinese is, is shown in another font and stays.

    >>> unicode_of("\uf0fe", "Wingdings"), unicode_of("o", "Wingdings"), unicode_of("m", "Symbol")
    ('☑', '☐', 'μ')
    """
    chart = _FONTS[font.strip().casefold()]
    return "".join(chart.get(ord(char) & 0xFF, "\ufffd") if _is_letter(ord(char)) else char for char in text)


def _is_letter(code: int) -> bool:
    return code < 0x100 or 0xF000 <= code < 0xF100
