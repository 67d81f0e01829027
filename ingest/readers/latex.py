r"""LaTeX (.tex) -> the text that is set, without commands: headings, lists, tables, notes; formulas as they stand.

Nothing is run or included. Source: LaTeX2e unofficial reference manual; booktabs and multirow for tables.
"""

import re

from core.config import IngestConfig
from core.types import Document
from ingest.readers.encoding import decode
from ingest.readers.grid import Cell, markdown_table
from ingest.readers.text import Outline, assemble, clean, collapse, shapeless

_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
_TOKEN = re.compile(
    r"(?P<verb>\\verb\*?(?P<bar>[^A-Za-z\s*])[^\n]*?(?P=bar))"
    r"|\\begin\{(?P<begin>[^{}\n]*)\}|\\end\{(?P<end>[^{}\n]*)\}"
    r"|(?P<math>\$\$(?:[^$\\]|\\.)*+\$\$|\$(?:[^$\\]|\\.)*+\$|\\\((?:[^\\]|\\[^)])*+\\\)|\\\[(?:[^\\]|\\[^\]])*+\\\])"
    r"|\\(?P<command>[A-Za-z@]+)\*?|\\(?P<sign>.)|(?P<open>\{)|(?P<close>\})|(?P<break>\n\s*\n)|(?P<amp>&)"
    r"|(?P<comment>%[^\n]*+(?:\n[ \t]*+(?!\n))?)|(?P<text>[^\\{}$&%\n]++|.)",
    re.S,
)
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*)?")
_BLOCK_COMMENT = re.compile(r"\\begin\{comment\}.*?\\end\{comment\}", re.S)
_OWN = re.compile(
    r"\\(?:re)?newcommand\*?\s*\{?\s*\\([A-Za-z]+)\s*\}?\s*\{([^{}\\]*)\}|\\def\\([A-Za-z]+)\{([^{}\\]*)\}"
)
_VERBATIM = ("verbatim", "verbatim*", "lstlisting", "minted", "Verbatim")
_MATHS = re.compile(r"(?:equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat)\*?")
_TABLES = re.compile(r"(?:tabular[x*y]?|tabu|longtable|longtabu|tblr)\*?")
_LISTS = {"itemize": None, "description": None, "enumerate": 0}
# Commands whose arguments are no text, by how many they have; those that stand for a sign.
_SILENT = {
    "label": 1, "cite": 1, "citep": 1, "citet": 1, "nocite": 1, "pageref": 1, "usepackage": 1, "documentclass": 1,
    "bibliographystyle": 1, "bibliography": 1, "includegraphics": 1, "input": 1, "include": 1, "index": 1,
    "vspace": 1, "hspace": 1, "setlength": 2, "addtolength": 2, "setcounter": 2, "newcommand": 2, "renewcommand": 2,
    "pagestyle": 1, "thispagestyle": 1, "color": 1, "textcolor": 1, "colorbox": 1, "fontsize": 2, "cmidrule": 1,
    "cline": 1, "hypersetup": 1, "raisebox": 1, "rule": 2, "phantom": 1, "hphantom": 1, "vphantom": 1, "ref": 0,
    "geometry": 1, "pagenumbering": 1, "addbibresource": 1, "glsadd": 1, "todo": 1, "addcontentsline": 3,
    "fontfamily": 1, "selectlanguage": 1, "resizebox": 2, "scalebox": 1, "rowcolor": 1, "cellcolor": 1,
    "markboth": 2, "markright": 1, "newpage": 0, "hyphenation": 1, "captionsetup": 1,
}  # fmt: skip
_SIGNS = {
    "ldots": "…", "dots": "…", "textellipsis": "…", "textbackslash": "\\", "textasciitilde": "~", "LaTeX": "LaTeX",
    "TeX": "TeX", "textbar": "|", "textless": "<", "textgreater": ">", "S": "§", "P": "¶", "copyright": "©",
    "pounds": "£", "euro": "€", "EUR": "€", "texteuro": "€", "yen": "¥", "textyen": "¥", "textdegree": "°",
    "degree": "°", "textperiodcentered": "·", "textbullet": "•", "textendash": "–", "textemdash": "—", "ss": "ß",
    "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł",
    "i": "ı", "quad": " ", "qquad": " ", "newline": "\v", "linebreak": "\v", "par": "\v", "texttrademark": "™",
    "textregistered": "®", "textmu": "µ", "times": "×", "pm": "±", "checkmark": "✓", "slash": "/", "enspace": " ",
    "maketitle": "",
}  # fmt: skip
_ACCENTS = {"'": "́", "`": "̀", "^": "̂", '"': "̈", "~": "̃", "=": "̄", ".": "̇", "c": "̧", "v": "̌", "u": "̆", "H": "̋",
            "r": "̊", "k": "̨"}  # fmt: skip
_OPTION = re.compile(r"\s*\[[^\[\]]*\]")
_QUOTES = (("``", "“"), ("''", "”"), ("---", "—"), ("--", "–"), ("~", " "))
_DEEPEST = 100  # arguments within arguments


def read_latex(data: bytes, cfg: IngestConfig) -> Document:
    """A LaTeX file: what stands in its document environment, or the whole of one that is a part of another."""
    written, encoding = decode(data, cfg)
    source = _BLOCK_COMMENT.sub("", clean(written))
    own = {name or other: text or said for name, text, other, said in _OWN.findall(source)}
    head, begun, body = source.partition("\\begin{document}")
    writer = _Writer(own)
    writer.title = collapse(writer.argument_of("title", head if begun else source))
    if begun and writer.title:
        writer.lines.append(writer.title)
    writer.walk(body.partition("\\end{document}")[0] if begun else source)
    writer.end()
    parts, title = writer.parts, writer.title or writer.first
    return assemble(parts, title, encoding=encoding, tables=writer.tables, notes=shapeless(written))


class _Writer(Outline):
    """Walks a source in order."""

    def __init__(self, own: dict[str, str], depth: int = 0) -> None:
        super().__init__()
        self.own, self.depth = own, depth
        self.pieces: list[str] = []
        self.lists: list[int | None] = []  # of each open list the number of its last item, None without numbers
        self.source, self.at = "", 0

    def walk(self, source: str) -> None:
        self.source, self.at = source, 0
        while self.at < len(source) and (found := _TOKEN.match(source, self.at)):
            self.at = found.end()
            self.token(found)

    def token(self, found: re.Match[str]) -> None:
        kind, text = found.lastgroup, found[0]
        if found["verb"]:
            self.pieces.append(text.partition(found["bar"])[2][:-1])
        elif found["begin"] is not None:
            self.begin(found["begin"])
        elif found["end"] is not None:
            if found["end"] in _LISTS and self.lists:
                self.lists.pop()
            self.flush()
        elif found["command"]:
            self.command(found["command"])
        elif found["sign"]:
            self.sign(found["sign"])
        elif kind == "break":
            self.flush()
            self.lines.append("")
        elif kind == "math":
            self.pieces.append(text)
        elif kind == "text":
            for old, new in _QUOTES:
                text = text.replace(old, new)
            self.pieces.append(text)

    def begin(self, name: str) -> None:
        """Open an environment; those whose content is no running text are dealt with as a whole."""
        whole = name in _VERBATIM or _MATHS.fullmatch(name) or _TABLES.fullmatch(name)
        if not whole:
            self.option()
            self.flush()
            if name in _LISTS:
                self.lists.append(_LISTS[name])
            elif name in ("minipage", "thebibliography", "multicols", "adjustbox"):
                self.argument()
            return
        end = self.source.find(f"\\end{{{name}}}", self.at)
        end = len(self.source) if end < 0 else end
        inner, start = self.source[self.at : end], self.at
        self.flush()
        if _TABLES.fullmatch(name):
            self.option()
            if name.rstrip("*") in ("tabularx", "tabulary", "tabu") or name == "tabular*":
                self.argument()
            self.argument()  # the form of the columns
            self.table(_COMMENT.sub(r"\1", self.source[self.at : end]))
        elif name in _VERBATIM:
            self.lines += ["", re.sub(r"\A\[[^\[\]]*\]|\A\{[^{}\n]*\}", "", inner).strip("\n"), ""]
        else:
            self.lines.append(collapse(_COMMENT.sub(r"\1", re.sub(r"\\label\{[^{}]*\}", "", inner))))
        self.at = max(start, min(end + len(name) + 6, len(self.source)))

    def command(self, name: str) -> None:
        if name in _LEVELS:
            self.option()
            heading = collapse(self.text_of(self.argument()))
            self.flush()
            if heading:
                self.heading(_LEVELS[name], heading)
        elif name == "item":
            self.item()
        elif name in self.own or name in _SIGNS:
            self.pieces.append(self.own.get(name) or _SIGNS.get(name, ""))
            self.gap()
        elif name in ("footnote", "footnotetext", "thanks", "marginpar"):
            self.option()
            self.pieces.append(f" [{collapse(self.text_of(self.argument()))}]")
        elif name in ("title", "author", "date", "caption"):
            self.option()
            said = collapse(self.text_of(self.argument()))
            self.flush()
            self.lines.append(said)
        elif name in ("multicolumn", "multirow", "href"):
            self.spanning(name)
        elif name in _SILENT:
            self.option()
            for _ in range(_SILENT[name]):
                self.argument()
        elif name in _ACCENTS and self.source[self.at : self.at + 1] == "{":
            self.accent(name)
        else:  # the text in its arguments follows
            self.option()
            self.gap()

    def spanning(self, name: str) -> None:
        """A command whose last argument is its text."""
        first = self.argument()
        if name != "href":
            self.option()
            self.argument()
        said = self.text_of(self.argument())
        self.pieces.append(f"{said} ({first})" if name == "href" else said)

    def sign(self, sign: str) -> None:
        """A backslash and a sign that is no letter."""
        if sign == "\\":
            self.option()
            self.pieces.append("\v")
        elif sign in "%&$#_{}":
            self.pieces.append(sign)
        elif sign in _ACCENTS:
            self.accent(sign)
        elif sign in " ,;:!/\n":
            self.pieces.append(" " if sign in " ,;:\n" else "")

    def accent(self, name: str) -> None:
        import unicodedata

        if self.source[self.at : self.at + 1] == "{":
            letter = self.text_of(self.argument()) or " "
        else:
            letter = self.source[self.at : self.at + 1]
            self.at += 1
        self.pieces.append(unicodedata.normalize("NFC", letter[:1] + _ACCENTS[name] + letter[1:]))

    def gap(self) -> None:
        """Spaces behind the name of a command are none."""
        while self.source[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        if self.source[self.at : self.at + 2] == "{}":
            self.at += 2

    def item(self) -> None:
        self.flush()
        named = re.compile(r"\s*\[([^\[\]]*)\]").match(self.source, self.at)
        number = self.lists[-1] if self.lists else None
        if named:
            self.at = named.end()
            self.pieces.append(f"- {self.text_of(named[1])}: ")
        elif number is None:
            self.pieces.append("- ")
        else:
            self.lists[-1] = number + 1
            self.pieces.append(f"{number + 1}. ")

    def option(self) -> None:
        found = _OPTION.match(self.source, self.at)
        if found:
            self.at = found.end()

    def argument(self) -> str:
        """The source of the next argument in braces; empty where there is none."""
        found = re.compile(r"\s*\{").match(self.source, self.at)
        if not found:
            return ""
        depth, start = 1, found.end()
        for brace in re.compile(r"\\.|[{}]", re.S).finditer(self.source, start):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if not depth:
                self.at = brace.end()
                return self.source[start : brace.start()]
        self.at = len(self.source)
        return self.source[start:]

    def argument_of(self, name: str, source: str) -> str:
        """The text of the argument of a command where it stands first; empty where it does not."""
        found = re.search(rf"\\{name}(?![A-Za-z])", source)
        if not found:
            return ""
        self.source, self.at = source, found.end()
        self.option()
        return self.text_of(self.argument())

    def text_of(self, source: str) -> str:
        """A piece of source as text on its own."""
        if self.depth > _DEEPEST:
            return source
        inner = _Writer(self.own, self.depth + 1)
        inner.walk(source)
        inner.end()
        return "\n".join(part.text for part in inner.parts if part.text)

    def table(self, source: str) -> None:
        rows: list[list[Cell]] = []
        merged: dict[int, tuple[str, int]] = {}  # column -> what stands in it, and in how many rows more
        for line in _split(source, "\\\\"):
            line = re.sub(
                r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot)\b", "", line
            )
            line = re.sub(r"^\s*\[[^\[\]]*\]|\\c(?:midrule|line)(?:\([^()]*\))?\{[^{}]*\}", "", line)
            if line.strip():
                rows.append([])
                for cell in _split(line, "&"):
                    rows[-1].append(self.cell(cell, sum(one.across for one in rows[-1]), merged))
        lines = markdown_table(rows)
        self.lines += ["", *lines, ""]
        self.tables += bool(lines)

    def cell(self, source: str, column: int, merged: dict[int, tuple[str, int]]) -> Cell:
        """A cell; one merged over rows has empty ones below it, which say the same."""
        across, down = (
            int(found[1]) if (found := re.search(rf"\\{name}\s*(?:\[[^\]]*\])?\{{(\d{{1,2}})\}}", source)) else 1
            for name in ("multicolumn", "multirow")
        )
        text = collapse(self.text_of(source))
        above, left = merged.pop(column, ("", 0))
        if down > 1:
            merged[column] = text, down - 1
        elif not text and left:
            text = above
            merged[column] = above, left - 1
        return Cell(text, max(across, 1))

    def flush(self) -> None:
        """Write what has been collected as lines."""
        for line in "".join(self.pieces).split("\v"):
            if said := collapse(line):
                self.lines.append(said)
        self.pieces.clear()

    def end(self) -> None:
        self.flush()
        self.close()


def _split(source: str, mark: str) -> list[str]:
    """A source cut at a mark, which counts only outside of braces."""
    pieces, depth, start = list[str](), 0, 0
    for found in re.finditer(r"\\\\|\\.|[{}&]", source, re.S):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if found[0] == mark and depth <= 0:
            pieces.append(source[start : found.start()])
            start = found.end()
    return [*pieces, source[start:]]
