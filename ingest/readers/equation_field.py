r"""EQ fields of Word, which draw what no run says: `\f(1,2)` as 1/2, a circled number, the text under a reading.

Source: ISO/IEC 29500-1, 17.16.5.20 (EQ); Word writes circled characters and phonetic guides with it.
"""

import re

_CODE = re.compile(r"\s*EQ\b", re.I)
_SWITCH = re.compile(r"\\([a-z]+)(?:[^\S\n]?-?\d+)?", re.I)
_FORMAT = re.compile(r'\\\*\s*(?:"[^"]*"|\w+)|\\h\b')
_RINGS = "○〇◯"
_FRAMES = _RINGS + "□△◇☐▢"
_DEEPEST = 20


def shown_by(code: str) -> str:
    r"""What an EQ field shows; nothing for a field of another kind.

    >>> shown_by(r" EQ \f(1,2) "), shown_by(r"eq \o\ac(○,3)"), shown_by(r"EQ \o\ad(\s\up 9(nián),年)")
    ('1/2', '③', '年')
    """
    kind = _CODE.match(code)
    return _Equation(_FORMAT.sub("", code[kind.end() :])).text() if kind else ""


class _Equation:
    def __init__(self, source: str) -> None:
        self.source, self.at = source, 0

    def text(self, depth: int = 0, within: bool = False) -> str:
        """The text up to the end, or within brackets to the comma or bracket that ends it."""
        pieces: list[str] = []
        while self.at < len(self.source) and not (within and self.source[self.at] in ",;)"):
            if (switch := _SWITCH.match(self.source, self.at)) and depth < _DEEPEST:
                self.at = switch.end()
                pieces.append(self.drawn(switch[1].lower(), depth))
            else:
                self.at += self.source[self.at] == "\\" and self.at + 1 < len(self.source)  # of an escaped sign
                pieces.append(self.source[self.at])
                self.at += 1
        return "".join(pieces).strip()

    def drawn(self, name: str, depth: int) -> str:
        """What a switch draws of its arguments; the first of some in a row says what it is."""
        options: list[str] = []
        while option := _SWITCH.match(self.source, self.at):
            options.append(option[1].lower())
            self.at = option.end()
        while self.source[self.at : self.at + 1] == " ":
            self.at += 1
        if self.source[self.at : self.at + 1] != "(":
            return ""
        heights: list[bool] = []
        texts: list[str] = []
        while self.at < len(self.source) and (not texts or self.source[self.at] in ",;"):
            self.at += 1
            heights.append(self.source[self.at :].lstrip().lower().startswith("\\s"))
            texts.append(self.text(depth + 1, True))
        self.at += 1
        if name == "f":
            return "/".join(text if re.fullmatch(r"[\w.]*", text) else f"({text})" for text in texts)
        if name == "r":
            root = f"√({texts[-1]})" if len(texts[-1]) > 1 else f"√{texts[-1]}"
            return f"{root} [root {texts[0]}]" if len(texts) > 1 and texts[0] not in ("", "2") else root
        if name == "o":
            return _over([text for text, raised in zip(texts, heights, strict=True) if not raised] or texts)
        if name == "s":
            return ("_" if "do" in options else "^") + texts[0] if texts[0] else ""
        if name == "i" and len(texts) > 2:
            return f"∫_{texts[0]}^{texts[1]} {texts[2]}"
        return f"({texts[0]})" if name == "b" else ", ".join(filter(None, texts))


def _over(texts: list[str]) -> str:
    """Characters that are drawn over each other: one in a frame is the framed character, where there is one."""
    frame = next((text for text in texts if text in _FRAMES), "")
    said = "".join(text for text in texts if text not in _FRAMES)
    number = int(said) if said.isdecimal() and len(said) < 3 else 0
    if frame and frame in _RINGS and 0 < number < 21:
        return chr(0x245F + number)
    return f"({said})" if frame and said else said
