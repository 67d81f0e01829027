"""Rich Text Format -> text by heading: tables, notes below their paragraphs, bytes in the code page of their font.

Microsoft's RTF specification 1.9.1. Runs of bytes are decoded together: of a Chinese or Japanese character the second
byte often stands there as a plain letter, brace or backslash.
"""

import re
from dataclasses import dataclass, field, replace

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import code_page, signature
from ingest.readers.equation_field import shown_by
from ingest.readers.raised import written
from ingest.readers.rtf_table import Layout, table_lines
from ingest.readers.rtf_unseen import Colours, Look
from ingest.readers.symbols import TICKED, UNTICKED, symbolic, unicode_of
from ingest.readers.text import HeadingPath, Part, assemble, clean, collapse, descend, meaningful, names
from ingest.readers.unseen import NOT_DISPLAYED, Unseen

Piece = tuple[str, str]  # a text, and its height
_TOKEN = re.compile(
    rb"\\([A-Za-z]{1,32})(-?\d{1,10})? ?|\\'([0-9A-Fa-f]{2})|\\([^A-Za-z])|([{}])|[\r\n\0]+|([^\\{}\r\n\0]+)", re.S
)
# Groups without text of the document, or with text that stands twice; so are those marked "may be skipped".
_SKIPPED = frozenset(
    "pict objdata header headerl headerr headerf footer footerl footerr footerf xmlnstbl listtable "
    "listoverridetable revtbl rsidtbl generator themedata datastore latentstyles filetbl nonshppict shprslt sp panose "
    "falt template private tc tcn xe rxe txe ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn bkmkstart bkmkend".split()
)
_KEPT = frozenset(("annotation", "shpinst", "fldinst", "formfield", "ffl"))  # bear the mark and hold text all the same
_TARGETS = {
    "info": "info", "title": "title", "fonttbl": "fonts", "stylesheet": "styles", "footnote": "note",
    "annotation": "note", "colortbl": "colours", "fldinst": "instruction", "formfield": "form", "ffl": "choice",
}  # fmt: skip
_CHARACTERS = {
    "tab": "\t", "line": "\n", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
    "endash": "–", "emdash": "—", "emspace": " ", "enspace": " ", "qmspace": " ", "lbr": "\n", "softline": "\n",
}  # fmt: skip
_SYMBOLS = {b"~": "\xa0", b"_": "-", b"\r": "\n", b"\n": "\n"}
_CHARSETS = {
    0: 1252, 77: 10000, 78: 932, 79: 949, 80: 936, 81: 950, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950,
    254: 437, 255: 850, 161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874,
    238: 1250,
}  # fmt: skip
_DEFAULTS = {"ansicpg": 0, "mac": 10000, "pc": 437, "pca": 850}
_HEADING = re.compile(r"(?:heading|标题|標題|überschrift|titre|título|titolo|заголовок|見出し|제목)\s*([1-9])\b", re.I)
_MAX_DEPTH = 2000
_WIDE = frozenset(("gb18030", "big5hkscs", "cp932", "cp949"))
_PAIRS = re.compile(rb"(?:[\x81-\xfe][\x80-\xfe])+")


@dataclass(slots=True)
class _State:
    """What a group takes over from the one around it."""

    target: str = "body"  # or: skip, info, title, fonts, colours, styles, note, instruction
    font: int | None = None
    fallback: int = 1  # plain characters that stand behind a \\u for readers that do not know it
    look: Look = field(default_factory=Look)
    in_table: bool = False
    level: int = 0  # of a heading, from 1


def read_rtf(data: bytes, cfg: IngestConfig) -> Document:
    """A rich text document."""
    start = data.find(b"{\\rtf", 0, 1024)
    if start < 0 or data[:start].strip(b"\xef\xbb\xbf \t\r\n\0"):
        seen = signature(data)
        raise ReadError("not an RTF file" + (f": it looks like {seen}" if seen else ""), "give it the right suffix")
    reader = _Reader()
    reader.run(data, start)
    return reader.document()


@dataclass(slots=True)
class _Reader:
    state: _State = field(default_factory=_State)
    outer: list[_State] = field(default_factory=list)
    default: str = "cp1252"  # codec
    default_font: int = 0
    fonts: dict[int, str] = field(default_factory=dict)  # number -> codec
    styles: dict[int, int] = field(default_factory=dict)  # number -> level of the heading
    number: int = 0  # of the font or style that is being defined
    to_skip: int = 0
    starred: bool = False
    raw: bytearray = field(default_factory=bytearray)
    text: list[Piece] = field(default_factory=list)  # of the present paragraph or cell
    aside: list[Piece] = field(default_factory=list)  # of a note, title, or definition
    symbols: dict[int, str] = field(default_factory=dict)  # names of fonts by number
    marked: int = 0  # notes so far
    form: list[str] = field(default_factory=list)  # the choices of a form field
    stated: dict[str, int] = field(default_factory=dict)  # what it says of itself
    code: list[str] = field(default_factory=list)  # of a field
    cells: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    path: HeadingPath = ()
    title: str = ""
    tables: int = 0
    rows: list[tuple[list[str], Layout]] = field(default_factory=list)  # of the present table
    layout_of_row: Layout = field(default_factory=Layout)
    colours: Colours = field(default_factory=Colours)
    unseen: Unseen = field(default_factory=Unseen)

    def run(self, data: bytes, at: int) -> None:
        while token := _TOKEN.match(data, at):
            at = token.end()
            word, number, code, symbol, brace, plain = token.groups()
            if plain is not None:
                self.feed(plain)
            elif code is not None:
                self.feed(bytes((int(code, 16),)))
            elif brace == b"{":
                self.open()
            elif brace == b"}":
                self.close()
            elif symbol is not None:
                self.symbol(symbol)
            elif word == b"bin":
                at += max(int(number or 0), 0)
            elif word:
                self.word(word.decode("ascii"), int(number) if number is not None else None)

    def feed(self, plain: bytes) -> None:
        if self.to_skip:
            skipped = min(self.to_skip, len(plain))
            self.to_skip -= skipped
            plain = plain[skipped:]
        self.raw += plain

    def flush(self) -> None:
        if self.raw:
            raw = bytes(self.raw)
            self.raw.clear()
            font = self.default_font if self.state.font is None else self.state.font
            if self.state.target in ("body", "note") and symbolic(name := self.symbols.get(font, "").strip(" ;")):
                self.put(unicode_of(raw.decode("latin-1"), name))
                return
            codec = self.fonts.get(font, self.default)
            if self.state.font is None and self.default in _WIDE:  # the title, or a program that names no fonts
                codec = self.default
            elif codec == "cp1252" and self.default in _WIDE and b"".join(_PAIRS.findall(raw)) == _high(raw):
                codec = self.default  # Chinese in a font that is named a Latin one
            self.put(raw.decode(codec, "replace"))

    def put(self, text: str) -> None:
        target = self.state.target
        if target in ("body", "note") and (why := self.colours.why(self.state.look, self.state.in_table)):
            self.unseen.leave(text, why)
        elif target == "body":
            self.text.append((text, self.state.look.height))
        elif target in ("title", "styles", "note", "choice"):
            self.aside.append((text, self.state.look.height if target == "note" else ""))
        elif target == "fonts":
            self.symbols[self.number] = self.symbols.get(self.number, "") + text
        elif target == "instruction":
            self.code.append(text)
        elif target == "colours":
            self.colours.text(text)

    def open(self) -> None:
        self.flush()
        if len(self.outer) >= _MAX_DEPTH:
            raise ReadError("damaged RTF file: groups nested thousands deep", "save it again from an office program")
        self.outer.append(self.state)
        self.state = replace(self.state)
        self.to_skip, self.starred = 0, False

    def close(self) -> None:
        self.flush()
        self.to_skip = 0
        if not self.outer:
            return
        ended, self.state = self.state, self.outer.pop()
        if ended.target == "styles":
            self.define_style()
        elif ended.target == "instruction" != self.state.target:
            code = "".join(self.code)
            self.code.clear()
            self.put(self.filled() or shown_by(code))
        elif ended.target != self.state.target and ended.target in ("title", "note", "choice"):
            text = written(self.aside).strip()
            self.aside.clear()
            if ended.target == "title":
                self.title = meaningful(text)
            elif ended.target == "choice":
                self.form.append(text)
            else:
                self.notes.append(collapse(clean(text)))

    def filled(self) -> str:
        """The value of a form field that is a box or a choice from a list, whose text says it not."""
        stated, choices = self.stated, self.form
        self.stated, self.form = {}, []
        kind = stated.get("fftype", 0)
        value = stated.get("ffres", 25)
        value = stated.get("ffdefres", 0) if value == 25 else value  # that of the field as it was made
        if kind == 1:
            return TICKED if value else UNTICKED
        return choices[value] if kind == 2 and 0 <= value < len(choices) else ""

    def mark(self) -> None:
        """The mark of a note: where it is referred to it counts, and the note itself begins with it."""
        if self.state.target == "body":
            self.marked += 1
            self.text.append((f" [{self.marked}]", ""))
        elif self.state.target == "note":
            self.aside.append((f"[{self.marked}] ", ""))

    def define_style(self) -> None:
        """The end of a style's definition, which is its name."""
        found = _HEADING.match(written(self.aside).strip(" ;"))
        if found:
            self.styles.setdefault(self.number, int(found[1]))
        self.aside.clear()

    def symbol(self, symbol: bytes) -> None:
        if symbol in (b"\\", b"{", b"}"):
            self.feed(symbol)
            return
        self.flush()
        if symbol == b"*":
            self.starred = True
        elif symbol in (b"\r", b"\n"):
            self.paragraph()
        elif symbol in _SYMBOLS:
            self.put(_SYMBOLS[symbol])

    def word(self, word: str, number: int | None) -> None:
        self.flush()
        starred, self.starred = self.starred, False
        if word in _SKIPPED or (starred and word not in _KEPT):
            self.state.target = "skip"
        elif self.state.target == "skip":
            return
        elif word in _TARGETS and (self.state.target != "instruction" or word == "formfield"):
            self.state.target = _TARGETS[word]
        elif word in _CHARACTERS:
            if self.to_skip:
                self.to_skip -= 1
            else:
                self.put(_CHARACTERS[word])
        elif word == "u" and number is not None:
            name = self.symbols.get(self.default_font if self.state.font is None else self.state.font, "").strip(" ;")
            text = chr(number & 0xFFFF)
            self.put(unicode_of(text, name) if symbolic(name) else text)
            self.to_skip = self.state.fallback
        elif word in ("fftype", "ffres", "ffdefres") and self.state.target == "form":
            self.stated[word] = number or 0
        elif word == "chftn":
            self.mark()
        elif self.state.target == "instruction":
            self.state.font = number if word == "f" else self.state.font
        elif self.state.target == "colours":
            self.colours.word(word, number)
        elif not self.layout(word):
            self.state.look = self.state.look.after(word, number)
            self.colours.cell(word, number)
            self.layout_of_row = self.layout_of_row.word(word, number)
            self.format(word, number)

    def layout(self, word: str) -> bool:
        """Ends of paragraphs, cells and rows; False where the word is none."""
        if word in ("par", "sect", "page", "column"):
            self.paragraph()
        elif word == "cell" and self.state.target == "body":
            self.cells.append(written(self.text))
            self.text.clear()
        elif word == "row" and self.state.target == "body":
            self.row()
        elif word in ("nestcell", "nestrow"):
            self.put(" ")
        else:
            return False
        return True

    def format(self, word: str, number: int | None) -> None:
        state = self.state
        if word == "f" and number is not None:
            state.font = self.number = number
        elif word in ("fcharset", "cpg") and state.target == "fonts":
            page = _CHARSETS.get(number or 0, 0) if word == "fcharset" else number or 0
            self.fonts[self.number] = code_page(page) or self.default
        elif word in _DEFAULTS:
            self.default = code_page(_DEFAULTS[word] or number or 0) or self.default
        elif word == "deff":
            self.default_font = number or 0
        elif word == "uc":
            state.fallback = min(max(number or 0, 0), 8)
        elif word == "plain":
            state.font = None
        elif word == "pard":
            state.in_table, state.level = False, 0
        elif word == "intbl":
            state.in_table = True
        elif word == "s" and number is not None:
            self.number, state.level = number, self.styles.get(number, 0)
        elif word == "outlinelevel":
            self.outline(number or 0)

    def outline(self, number: int) -> None:
        self.state.level = number + 1 if 0 <= number < 9 else 0
        if self.state.target == "styles" and self.state.level:
            self.styles[self.number] = self.state.level

    def paragraph(self) -> None:
        if self.state.target != "body" or self.state.in_table:
            self.put("\n")
            return
        text = written(self.text).strip()
        self.text.clear()
        if text:
            self.table()
        if text and self.state.level:
            self.end_part()
            name = collapse(clean(text))
            self.path = descend(self.path, self.state.level, name)
            self.lines.append(name)
        elif text:
            self.lines.append(text)
        if not self.rows:
            self.stand_below()

    def stand_below(self) -> None:
        """Write the notes of a paragraph or a table below it."""
        self.lines += filter(None, self.notes)
        self.notes.clear()

    def row(self) -> None:
        cells, self.cells = self.cells, []
        if self.colours.row_hidden:
            self.unseen.leave(" ".join(cells), NOT_DISPLAYED)
        elif len(cells) > 1:
            self.rows.append(([clean(cell) for cell in cells], self.layout_of_row))
        elif line := "".join(cells).strip():
            self.table()
            self.lines.append(line)

    def table(self) -> None:
        rows, self.rows = self.rows, []
        if lines := table_lines(rows):
            self.lines += ["", *lines, ""]
            self.tables += 1
            self.stand_below()

    def end_part(self) -> None:
        self.table()
        self.parts.append(Part("\n".join(self.lines), names(self.path)))
        self.lines = []

    def document(self) -> Document:
        self.flush()
        self.state = _State()
        self.row()
        self.paragraph()
        self.end_part()
        self.parts.append(Part("\n".join(filter(None, self.notes))))
        first = next((part.headings[0] for part in self.parts if part.headings), "")
        return assemble(self.parts, self.title or first, tables=self.tables, notes=self.unseen.notes())


def _high(raw: bytes) -> bytes:
    return raw.translate(None, bytes(range(128)))
