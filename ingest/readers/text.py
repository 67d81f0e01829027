"""Plain text, and what all readers share: cleaning characters, and joining parts into a `Document`."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from core.config import IngestConfig
from core.types import Document, Section
from ingest.readers.encoding import decode
from ingest.readers.unseen import SHAPELESS, Unseen, joined

HeadingPath = tuple[tuple[int, str], ...]  # (level, name), outermost first, levels rising

_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Controls, unpaired surrogates, and characters nobody sees that split words or hide text: soft hyphen, zero-width
# space, word joiner, byte order mark, direction overrides, tags. Joiners stay: Persian, Hindi and emoji need them.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
)
# Of these, what can spell out a text that nobody sees: tags (not those of a flag, UTS 51), rows of variation selectors.
_SHAPELESS = re.compile(
    "(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]+|(?<=\U0001f3f4)[\U000e0000-\U000e007f]{8,}"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
)
_RADICALS = re.compile("[\u2e80-\u2fdf]+")
# Printed PDFs write these radicals for the characters; Unicode gives them no compatibility mapping.
_SUPPLEMENT = str.maketrans(
    "⺟⺠⻁⻄⻅⻆⻉⻋⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻨⻩⻬⻮⻰⻳",
    "母民虎西见角贝车长门青韦页风飞食马骨鬼鱼鸟麦黄齐齿龙龟",
)
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_WIDE_SEAM = re.compile("(?<=[\u3000-\u9fff\uff00-\uffef])[ \t]*\n\\s*(?=[\u3000-\u9fff\uff00-\uffef])")
_WORDLESS = re.compile(r"[\W\d_]*")
_NO_TITLE = re.compile(  # what programs put in for want of a title, and file names
    r"untitled\b.*|microsoft (?:word|powerpoint|excel)\b.*|(?:powerpoint )?presentation\d*|document\d*|slide \d+|title"
    r"|(?:new )?page \d*|无标题.*|未命名.*|文档\s*\d*|演示文稿\s*\d*|幻灯片\s*\d+"
    r"|.*\.(?:docx?|pptx?|xlsx?|pdf|indd|qxd|tex|dvi|html?|rtf|odt|wps)",
    re.I,
)

_SEPARATORS = re.compile("[,;，；、\n]")
_LISTED = 20_000  # characters of a list of tags that are read
MAX_TAGS, MAX_TAG = 64, 100
_DATE = re.compile(r"(?:D:)?(\d{4})(?:[-/.年]?(\d\d?)(?:[-/.月]?(\d\d?))?)?")
_YEARS = range(1900, 2101)
# What clocks show that nobody has set, and what programs write for no date.
_UNSET = frozenset(("1900-01-01", "1904-01-01", "1969-12-31", "1970-01-01", "1980-01-01"))


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of text before it has a place in a document."""

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None


def read_text(data: bytes, cfg: IngestConfig) -> Document:
    """A plain text file; its title is a first short line that stands alone."""
    written, encoding = decode(data, cfg)
    text = clean(_ANSI.sub("", written) if "\x1b" in written else written)
    notes = tuple(shapeless(written))
    return Document(text, _first_line(text), (Section(0, len(text)),), encoding=encoding, notes=notes)


def clean(text: str) -> str:
    """One kind of line end, no control or invisible characters but it and tabs, Kangxi radicals as the characters."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    text = _DROPPED.sub("", _BREAKS.sub("\n", paired(text)))
    if text.isascii():
        return text
    return _RADICALS.sub(lambda run: unicodedata.normalize("NFKC", run[0]).translate(_SUPPLEMENT), text)


def paired(text: str) -> str:
    """Two surrogates, which stand for a character beyond U+FFFF in UTF-16, as that character."""
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)


def shapeless(*texts: str) -> list[str]:
    """A note where a text, before it is cleaned, holds characters that spell something out and have no shape."""
    unseen = Unseen()
    for text in texts:
        for run in _SHAPELESS.findall(text) if not text.isascii() else ():
            unseen.leave(run, SHAPELESS)
    return unseen.notes()


def assemble(
    parts: Iterable[Part],
    title: str = "",
    pages: int | None = None,
    empty_pages: Sequence[int] = (),
    encoding: str | None = None,
    tables: int = 0,
    notes: Sequence[str] = (),
) -> Document:
    """Clean the parts and join them, a blank line between two; parts without text are left out."""
    texts: list[str] = []
    sections: list[Section] = []
    found: list[str] = []
    end = 0
    for part in parts:
        found += shapeless(part.text)
        text = clean(part.text).strip("\n")
        if not text.strip():
            continue
        start = end + 2 if texts else 0
        end = start + len(text)
        texts.append(text)
        sections.append(Section(start, end, part.headings, part.page))
    return Document(
        "\n\n".join(texts), title, tuple(sections), pages, tuple(empty_pages), encoding, tables,
        notes=tuple(joined((*notes, *found))),
    )  # fmt: skip


def parts_of(document: Document, above: tuple[str, ...] = ()) -> list[Part]:
    """The sections of a document as parts of a larger one, under the headings `above`."""
    return [
        Part(document.text[section.start : section.end], (*above, *section.headings), section.page)
        for section in document.sections
    ]


def descend(path: HeadingPath, level: int, name: str) -> HeadingPath:
    """The heading path below a new heading: those above it stay, its equals and what was under them go."""
    return (*(heading for heading in path if heading[0] < level), (level, name))


def names(path: HeadingPath) -> tuple[str, ...]:
    """The headings of a path, without levels and without empty ones."""
    return tuple(name for _, name in path if name)


class Outline:
    """Lines of text in order, cut into a part at each heading; for readers that walk a document."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.path: HeadingPath = ()
        self.lines: list[str] = []
        self.tables = 0
        self.title = ""
        self.first = ""  # first heading of the first level

    def heading(self, level: int, name: str) -> None:
        """Begin the part of a heading, which is its first line."""
        self.close()
        self.path = descend(self.path, level, name)
        self.lines.append(name)
        if level == 1 and not self.first:
            self.first = name

    def close(self) -> None:
        """End the part of the present heading."""
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip("\n")
        self.parts.append(Part(text, names(self.path)))
        self.lines = []


def collapse(text: str) -> str:
    """One line, single spaces; a line break between two CJK characters is no space.

    >>> collapse(" 年假五天 for  all ")
    '年假五天 for all'
    """
    if "\n" in text:
        text = _WIDE_SEAM.sub("", text)
    return " ".join(text.split())


def row_line(cells: Sequence[str]) -> str:
    """A table row as a line, empty cells at its end dropped; empty if all are."""
    texts = [collapse(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return " | ".join(texts)


def meaningful(title: str | None) -> str:
    """A title from document properties, or nothing where it is a program's filler or a file name.

    >>> meaningful("Microsoft Word - x.doc"), meaningful("差旅制度")
    ('', '差旅制度')
    """
    title = collapse(clean(title or ""))[:300]
    return "" if len(title) < 2 or _WORDLESS.fullmatch(title) or _NO_TITLE.fullmatch(title) else title


def listed(text: str) -> list[str]:
    """The items of a list in running text, as document properties hold them.

    >>> listed("annual leave; HR，年假、病假")
    ['annual leave', ' HR', '年假', '病假']
    """
    return _SEPARATORS.split(text[:_LISTED])


def tags_of(items: Iterable[str]) -> tuple[str, ...]:
    """Tags on one line each, without `#` in front, empty ones, repeats in another case, and those too long for a tag.

    >>> tags_of([" Network ", "#hr", "network", ""])
    ('Network', 'hr')
    """
    tags: dict[str, str] = {}
    for item in items:
        tag = collapse(clean(item[: 2 * MAX_TAG])).lstrip("# ")
        if tag and len(tag) <= MAX_TAG:
            tags.setdefault(tag.casefold(), tag)
        if len(tags) == MAX_TAGS:
            break
    return tuple(tags.values())


def date_of(text: str) -> str:
    """The date that a text begins with (ISO 8601: a year, a month or a day), nothing where there is no plausible one.

    Read are ISO 8601, also with other separators, the dates of PDF (ISO 32000-1, 7.9.4) and of mail (RFC 5322). The day
    is that of the writer's time zone.

    >>> [date_of(text) for text in ("2024-03-15T23:30:00Z", "2024年3月", "D:2024", "Fri, 15 Mar 2024", "2024-31")]
    ['2024-03-15', '2024-03', '2024', '2024-03-15', '']
    """
    from email.utils import parsedate

    text = collapse(clean(text[:MAX_TAG]))
    found = _DATE.match(text)
    if found:
        numbers = [int(group) for group in found.groups() if group]
    else:
        numbers = (parsedate(text if ":" in text else f"{text} 00:00") or ())[:3]
    if not numbers or numbers[0] not in _YEARS:
        return ""
    try:
        day = date(*numbers, *[1] * (3 - len(numbers))).isoformat()
    except ValueError:
        return ""
    return "" if len(numbers) == 3 and day in _UNSET else day[: 3 * len(numbers) + 1]


def _first_line(text: str) -> str:
    first = re.match(r"([^\n]{2,80})\n[^\S\n]*\n\s*\S", text.lstrip())
    line = first[1].strip() if first else ""
    return "" if _WORDLESS.fullmatch(line) or line[-1] in ".。!！?？,，;；:：、" else line
