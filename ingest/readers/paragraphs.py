"""The lines of a page -> its paragraphs."""

import re

CUT_MARK = "\x02"
_CJK = "\u3400-\u9fff\uf900-\ufaff"
_WRAPPED_CJK = re.compile(f"(?<=[{_CJK}、，])\n(?=[{_CJK}])")
_WRAPPED = re.compile(r"(?<=[^\W\d_]|[,;])\n(?=[a-z])|(?<=[a-z,;])\n(?=[A-Z\d(\"“$])")
_FULL_LINE = 0.8  # of the longest lines of a page
_LAST_WORD, _FIRST_WORD = re.compile(r"[^\W_]*\Z"), re.compile(r"\A[^\W_]*")
_LONGEST = 64  # characters of a word
_KEPT_APART = frozenset("self well half long short non".split())  # which stand before a hyphen that is their own
_ENDING = 3  # letters at most of "-ish", "-ing"
_CAPITALS = 4  # letters at least of each part of a cut word of a title in capitals; those of codes are shorter
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
            pieces += [joint(last[:-1], line, text), line]
        elif _width(last) >= full and _WRAPPED_CJK.search(seam):
            pieces.append(line)
        elif _width(last) >= full and _WRAPPED.search(seam):
            pieces += [" ", line]
        else:
            pieces += ["\n", line]
        last = line
    return "".join(pieces[1:])


def joint(before: str, after: str, text: str = "") -> str:
    """What joins a word that the end of a line cuts: a hyphen where it has one, else nothing.

    The page knows best, where it writes the word elsewhere. A code or a name keeps its hyphen (`ISO-9001`), and so does
    what typesetters do not cut, a single letter. A hyphen too many loses nothing: a word is found by its parts, and
    without it.
    """
    left, right = _LAST_WORD.findall(before[-_LONGEST:])[0], _FIRST_WORD.findall(after[:_LONGEST])[0]
    if f"{left}-{right}" in text or min(len(left), len(right)) < 2:
        return "-"
    if left + right in text:
        return ""
    if left.isupper() and right.isupper() and min(len(left), len(right)) >= _CAPITALS:
        return ""
    named = not right[0].islower() or left[-1].isdigit()
    return "-" if named or (left.lower() in _KEPT_APART and len(right) > _ENDING) else ""


def _width(line: str) -> int:
    """Columns that a line takes: a CJK character fills two."""
    if line.isascii():
        return len(line)
    return len(line) + len(re.findall(f"[{_CJK}\u3000-\u303f\uff00-\uffef]", line))
