"""Which brackets of an answer are citations: neither those in code, nor subscripts, nor what its passages say so."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.text import language

# [1]  [1, 2]  [1][2]  [^1]  【1】  ［1］  [Source 1]  (source 1)  （资料1）
_NUMBERS = r"\d{1,3}(?:\s?[,，、;]\s?\d{1,3}){0,7}"
_NAME = r"(?:[Ss]ources?|[Pp]assages?|[Dd]ocuments?|资料|来源|文档|文献)[ \t:：#]?"  # that models give their sources
_MARK = re.compile(rf"([ \t]*)(?:[\[【［]\^?(?:{_NAME})?{_NUMBERS}[\]】］]|[(（]{_NAME}{_NUMBERS}[)）])")
_OPEN_MARK = re.compile(  # what may yet become one
    r"[ \t]*(?:[\[【［(（]\^?(?:[SsPpDd][a-z]{0,8}|[资来文][料源档献]?)?[ \t:：#]?[\d\s,，、;]{0,50})?\Z"
)
_STOP = re.compile(r"\n|\\(?:[\\`]|\Z)|`+|(?<![ \t])[ \t]{1,40}+(?=[\[【［(（]|\Z)|[\[【［(（]")
_LEAD = r"[ \t>*+\-\d.)]{0,40}+"  # before a fence: what may stand around it, in lists and quotes
_FENCE = re.compile(rf"{_LEAD}(?P<sign>`{{3,99}}+(?=[^`\n]{{0,200}}+(?:\n|\Z))|~{{3,99}}+)[^\n]{{0,200}}+(?:\n|\Z)")
_OPEN_FENCE = re.compile(rf"{_LEAD}(?:`{{3,99}}+[^`\n]{{0,200}}|~{{3,99}}+[^\n]{{0,200}}|`{{0,2}}|~{{0,2}})\Z")
_LONGEST_SPAN = 1000  # characters of code in a line
_CHAIN = re.compile(r"(?:\[[^\[\]\n]{0,60}\]){1,20}")
_OPEN_BRACKET = re.compile(r"\[[^\[\]\n]{0,60}\Z")
_WORD = re.compile(r"[A-Za-z0-9_.$]*(?:[A-Za-z0-9_]|(?<=\w)\([^()\n]{0,40}\))\Z")  # that a subscript may stand behind
_CODE = re.compile(r"[_$)]|[A-Za-z]\.[A-Za-z]")  # in such a word: it is no word of prose
_CLAUSE_END = re.compile(r"[ \t]*+(?:[.,;:!?…](?![A-Za-z0-9_(\[])|[”’\"'|*\u2e80-\uffef]|\n|\Z)")
_SENTENCE_END = re.compile(r"[.。!！;；:：]+$")
_CONTEXT = 64  # characters before a bracket that are looked at
_REPEATED = 16  # characters before a mark that a passage must have too, for the mark to be the passage's
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer as it was written. A fence is the line that begins or ends a block of code.

    `numbers` are the sources that a mark points to, `unknown` its numbers that no source has.
    """

    kind: Literal["text", "code", "fence", "block", "mark"]
    text: str
    numbers: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()


class Reader:
    """Reads an answer piece by piece; how it is cut makes no difference to what is a citation.

    `known` are the passages by their number; None: any number may be one's. `[n]` is no citation

    - in code: between backticks in a line, or between fences,
    - directly behind a word, as in `args[0]`, unless it ends a clause and its number is known: `36 months[1].`,
    - where a passage has it itself: with a number that is not known, or with the words before it that are not those of
      the passage it points to, as in `Meyer [27]`.
    """

    def __init__(self, known: Mapping[int, str] | None) -> None:
        self._known = known
        self._passages = "\n".join(known.values()) if known else ""
        self._text, self._at = "", 0  # what is not read yet begins at `_at`
        self._fence = ""

    def read(self, text: str, last: bool = False) -> Iterator[Piece]:
        """The pieces that are certain once `text` has come; with `last`, all that is left."""
        self._text += text
        while self._at < len(self._text):
            piece = self._block(last) if self._fence else self._line(last)
            if piece is None:
                break
            self._at += len(piece.text)
            if piece.text:
                yield piece
        cut = max(self._at - _CONTEXT, 0)
        self._text, self._at = self._text[cut:], self._at - cut

    def _starts_line(self) -> bool:
        return self._at == 0 or self._text[self._at - 1] == "\n"

    def _rest_of_line(self) -> str:
        end = self._text.find("\n", self._at)
        return self._text[self._at : end + 1 if end >= 0 else len(self._text)]

    def _block(self, last: bool) -> Piece | None:
        line = self._rest_of_line()
        if self._starts_line():
            sign = re.escape(self._fence[0])
            if re.fullmatch(rf"[ \t>]{{0,40}}{sign}{{{len(self._fence)},}}[ \t]*\n?", line):
                if not (last or line.endswith("\n")):
                    return None
                self._fence = ""
                return Piece("fence", line)
            if not last and re.fullmatch(rf"[ \t>]{{0,40}}{sign}*[ \t]*", line):
                return None
        return Piece("block", line)

    def _line(self, last: bool) -> Piece | None:
        if self._starts_line():
            line = self._rest_of_line()
            if not last and not line.endswith("\n") and _OPEN_FENCE.match(line):
                return None
            if fence := _FENCE.match(line):
                self._fence = fence["sign"]
                return Piece("fence", fence[0])
        stop = _STOP.search(self._text, self._at)
        if stop is None:
            return Piece("text", self._text[self._at :])
        if stop.start() > self._at:
            return Piece("text", self._text[self._at : stop.start()])
        if stop[0] == "\n":
            return Piece("text", "\n")
        if stop[0][0] == "\\":
            return Piece("text", stop[0]) if last or len(stop[0]) == 2 else None
        if stop[0][0] == "`":
            return self._ticks(stop[0], last)
        return self._bracket(last)

    def _ticks(self, run: str, last: bool) -> Piece | None:
        start = self._at + len(run)
        if start == len(self._text) and not last:
            return None
        line = self._text[start : start + _LONGEST_SPAN + 1]
        end = line.find("\n")
        line = line if end < 0 else line[:end]
        whole = last or end >= 0 or len(line) > _LONGEST_SPAN
        for close in re.finditer("`+", line):
            if len(close[0]) == len(run) and (whole or close.end() < len(line)):
                return Piece("code", run + line[: close.end()])
        return Piece("text", run) if whole else None

    def _bracket(self, last: bool) -> Piece | None:
        text, at = self._text, self._at
        before = text[max(at - _CONTEXT, 0) : at].rpartition("\n")[2]
        mark, word, chain = _MARK.match(text, at), _WORD.search(before), _CHAIN.match(text, at)
        if text[at] == "[" and word and not (mark and "^" in mark[0]):
            after = chain.end() if chain else at
            undecided = _OPEN_BRACKET.match(text, after) or (chain and re.fullmatch(r"[ \t]*.?", text[after:]))
            if undecided and not last:
                return None
            if chain and not self._ends_clause(word[0], chain):
                return Piece("text", chain[0])
        if mark:
            return self._mark(mark, before)
        if not last and _OPEN_MARK.match(text, at):
            return None
        end = at + 1
        while end < len(text) and text[end - 1] in " \t":
            end += 1
        return Piece("text", text[at:end])

    def _ends_clause(self, word: str, chain: re.Match[str]) -> bool:
        """Whether marks directly behind a word are citations all the same."""
        return (
            not _CODE.search(word)
            and f"{word}{chain[0]}" not in self._passages
            and all(mark and self._is_known(mark) for mark in map(_MARK.fullmatch, re.findall(r"\[[^]]*\]", chain[0])))
            and _CLAUSE_END.match(self._text, chain.end()) is not None
        )

    def _is_known(self, mark: re.Match[str]) -> bool:
        return self._known is None or all(n in self._known for n in _numbers(mark))

    def _mark(self, mark: re.Match[str], before: str) -> Piece:
        known = self._known
        numbers = _numbers(mark)
        if known is None:
            return Piece("mark", mark[0], numbers)
        unknown = tuple(n for n in numbers if n not in known)
        if unknown and mark[0].strip() in self._passages:
            return Piece("text", mark[0])
        said = before[-_REPEATED:]
        repeated = len(said.strip()) >= _FEWEST and said + mark[0] in self._passages
        if repeated and not any(said in known[n] for n in numbers if n in known):
            return Piece("text", mark[0])
        return Piece("mark", mark[0], tuple(n for n in numbers if n in known), unknown)


def pieces(text: str, known: Mapping[int, str] | None) -> Iterator[Piece]:
    """All pieces of an answer."""
    return Reader(known).read(text, last=True)


def spans(text: str, known: Mapping[int, str] | None) -> list[tuple[int, int, tuple[int, ...]]]:
    """Where the marks of an answer stand, without the space before them, and what they point to."""
    found, at = [], 0
    for piece in pieces(text, known):
        end = at + len(piece.text)
        if piece.kind == "mark":
            found.append((end - len(piece.text.lstrip()), end, piece.numbers))
        at = end
    return found


def written(piece: Piece, numbers: Mapping[int, int] | None = None) -> str:
    """A piece with its marks as `[n]`, one by one, of other `numbers` where these say so.

    Those that point nowhere go, and the space before them.
    """
    if piece.kind != "mark":
        return piece.text
    marks = "".join(f"[{numbers[n] if numbers else n}]" for n in piece.numbers)
    return piece.text[: len(piece.text) - len(piece.text.lstrip())] + marks if marks else ""


def _numbers(mark: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", mark[0]))


def marked(text: str, numbers: Sequence[int]) -> str:
    """A sentence with the marks of its sources before the full stop."""
    end = _SENTENCE_END.search(text)
    at = end.start() if end else len(text)
    return text[:at] + ("" if language(text) == "zh" else " ") + "".join(f"[{n}]" for n in numbers) + text[at:]
