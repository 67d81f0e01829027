"""The lines of a page -> its paragraphs."""

import re

CUT_MARK = "\x02"
_CJK = "\u3400-\u9fff\uf900-\ufaff"
_WRAPPED_CJK = re.compile(f"(?<=[{_CJK}、，])\n(?=[{_CJK}])")
_WRAPPED = re.compile(r"(?<=[^\W\d_]|[,;])\n(?=[a-z])|(?<=[a-z,;])\n(?=[A-Z\d(\"“$])")
_FULL_LINE = 0.8  # of the longest lines of a page
_SHORT_LINES = 32  # columns: shorter lines are those of lists and narrow tables


def unwrap(text: str) -> str:
    """Join cut words, and the lines of a paragraph; lines of tables and lists stay apart.

    A line goes on where it is about as long as the longest of the page and does not end a sentence: in Chinese on
    both sides of the break, else before a small letter, or after one. A word is cut where a line ends in `CUT_MARK`.
    """
    lines = text.split("\n")
    widths = sorted(map(_width, lines), reverse=True)
    full = max(_FULL_LINE * widths[len(widths) // 10], _SHORT_LINES)
    pieces: list[str] = []
    last = ""  # the line before, as it stands on the page
    for line in lines:
        seam = last.rstrip()[-1:] + "\n" + line[:1]
        if last.endswith(CUT_MARK):
            pieces += [_hyphen(last[:-1], line, text), line]
        elif _width(last) >= full and _WRAPPED_CJK.search(seam):
            pieces.append(line)
        elif _width(last) >= full and _WRAPPED.search(seam):
            pieces += [" ", line]
        else:
            pieces += ["\n", line]
        last = line
    return "".join(pieces[1:])


def _hyphen(before: str, after: str, text: str) -> str:
    """What joins a cut word: a hyphen where the page writes the word with one elsewhere."""
    left, right = re.search(r"\w*$", before), re.match(r"\w*", after)
    return "-" if left and right and f"{left[0]}-{right[0]}" in text else ""


def _width(line: str) -> int:
    """Columns that a line takes: a CJK character fills two."""
    if line.isascii():
        return len(line)
    return len(line) + len(re.findall(f"[{_CJK}\u3000-\u303f\uff00-\uffef]", line))
