"""Text with light markup (reStructuredText, AsciiDoc, Org) -> its source, cut at its headings.

Comments and what only programs read are taken out, names for a text are replaced by it, tables get Markdown's form.
Sources: Docutils reStructuredText specification, AsciiDoc language documentation, Org syntax.
"""

import re
from collections.abc import Callable

from core.config import IngestConfig
from core.types import Document
from ingest.readers.encoding import decode
from ingest.readers.grid import plain_table
from ingest.readers.text import Outline, assemble, clean, collapse, shapeless

_RULE = re.compile(r"([!-/:-@\[-`{-~])\1+\s*")
_RST_COMMENT = re.compile(r"\.\.(?:\s+(?!\[|_|\||[\w-]+(?:[:+.][\w-]+)*::)|\s*$)")
_RST_NAME = re.compile(r"^\.\. \|([^|\n]+)\| replace::[^\S\n]*(\S[^\n]*)\n?", re.M)
_RST_HIDDEN = re.compile(
    r"\.\. (?:_[^\n]*:|(?:index|toctree|contents|meta|highlight|default-role|role|include|sectnum|"
    r"(?:only|ifconfig)|image|figure)::.*)"
)
_RST_DIRECTIVE = re.compile(r"\.\. ([\w-]+)::[^\S\n]*(.*)")
_RST_ROLE = re.compile(r":[\w:+.-]+:`([^`<\n]+?)(?:\s*<[^`\n]*>)?`")
_RST_LINK = re.compile(r"`([^`<\n]+?)\s*<([^`>\n]+)>`__?")
_GRID_RULE = re.compile(r"\+(?:[-=]+\+)+\s*")
_SIMPLE_RULE = re.compile(r"=+(?: +=+)+\s*")
_ADOC_HEADING = re.compile(r"(={1,6}|#{1,6})[^\S\n]+(\S.*?)(?:\s+\1)?\s*")
_ADOC_NAME = re.compile(r":(!?[\w-]+!?):(?:\s+(.*))?")
_ADOC_HIDDEN = re.compile(r"\[\[[^\]]*\]\]|\[(?!\[)[^\]]*\]|<<<|toc::.*|ifdef::.*|ifndef::.*|endif::.*|include::.*")
_ADOC_LITERAL = re.compile(r"(?:-{4,}|\.{4,}|`{3,}.*|\+{4,}|~{4,})\s*")
_ADOC_ANCHOR = re.compile(r"\[\[[^\]\n]*\]\]|(?<!\w)\[#[^\]\n]*\](?=[#*_`])")
_ORG_HEADING = re.compile(r"(\*+)[^\S\n]+(?:(?:TODO|DONE|NEXT|WAITING|CANCELED|CANCELLED)\s+)?(?:\[#\w\]\s+)?(.*?)"
                          r"(?:\s+:[\w@#%:]+:)?\s*")  # fmt: skip
_ORG_BLOCK = re.compile(r"\s*#\+begin_(\w+).*", re.I)
_ORG_KEY = re.compile(r"\s*#\+([\w-]+)(?:\[[^\]]*\])?:\s*(.*)")
_ORG_LINK = re.compile(r"\[\[([^\[\]\n]+)\]\[([^\[\]\n]+)\]\]|\[\[([^\[\]\n]+)\]\]")


def read_rst(data: bytes, cfg: IngestConfig) -> Document:
    """A reStructuredText file. The rank of a heading is that of its underline, in the order of their first use."""
    written, encoding = decode(data, cfg)
    source = clean(written)
    replaced = {name.strip(): text.strip() for name, text in _RST_NAME.findall(source)}
    source = _RST_NAME.sub("", source)
    source = re.sub(r"\|([^|\s](?:[^|\n]*[^|\s])?)\|_{0,2}", lambda m: replaced.get(m[1], m[0]), source)
    source = _RST_LINK.sub(r"\1 (\2)", _RST_ROLE.sub(r"\1", source))
    writer, lines, ranks = Outline(), source.split("\n"), list[str]()
    at = 0
    while at < len(lines):
        line, below = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
        over = _is_rule(line) and at + 2 < len(lines) and below.strip() and lines[at + 2].rstrip() == line.rstrip()
        under = bool(line.strip()) and not line[0].isspace() and _is_rule(below) and not _is_rule(line)
        if over or (under and len(line.rstrip()) <= len(below.rstrip()) + 1):
            style, name = (line[0] * 2, below) if over else (below[0], line)
            if style not in ranks:
                ranks.append(style)
            writer.heading(ranks.index(style) + 1, collapse(name))
            at += 3 if over else 2
        elif _GRID_RULE.fullmatch(line):
            end = _while(lines, at, lambda text: text[:1] in ("+", "|"))
            _write_table(writer, _grid_rows(lines[at:end]))
            at = end
        elif _SIMPLE_RULE.fullmatch(line):
            end = _while(lines, at, lambda text: bool(text.strip()))
            _write_table(writer, _simple_rows(lines[at:end]))
            at = end
        elif _RST_HIDDEN.match(line) or _RST_COMMENT.match(line):
            at = _while(lines, at + 1, lambda text: not text.strip() or text[0].isspace())
        elif found := _RST_DIRECTIVE.fullmatch(line):
            writer.lines.append(found[2])
            at = _while(lines, at + 1, lambda text: bool(re.match(r"\s+:[\w-]+:", text)))
        else:
            writer.lines.append(line.rstrip())
            at += 1
    return _document(writer, written, encoding)


def _is_rule(line: str) -> bool:
    return len(line.rstrip()) > 2 and bool(_RULE.fullmatch(line))


def _while(lines: list[str], at: int, goes_on: Callable[[str], bool]) -> int:
    while at < len(lines) and goes_on(lines[at]):
        at += 1
    return at


def _grid_rows(lines: list[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    new = True
    for line in lines:
        if line.startswith("+"):
            new = True
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if new or len(cells) != len(rows[-1]):
            rows.append(cells)
        else:
            rows[-1] = [f"{above}\n{cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
        new = False
    return rows


def _simple_rows(lines: list[str]) -> list[list[str]]:
    starts = [found.start() for found in re.finditer("=+", lines[0])]
    rows: list[list[str]] = []
    for line in lines[1:]:
        if _SIMPLE_RULE.fullmatch(line) or re.fullmatch(r"-+(?: +-+)*\s*", line):
            continue
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], len(line) + 1], strict=True)]
        if cells[0] or not rows:
            rows.append(cells)
        else:  # a row goes on
            rows[-1] = [f"{above}\n{cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return rows


def _write_table(writer: Outline, rows: list[list[str]]) -> None:
    lines = plain_table(rows)
    writer.lines += ["", *lines, ""]
    writer.tables += bool(lines)


def read_asciidoc(data: bytes, cfg: IngestConfig) -> Document:
    """An AsciiDoc file; its attributes are replaced where they stand in the text."""
    written, encoding = decode(data, cfg)
    writer, known = Outline(), dict[str, str]()
    lines = clean(written).split("\n")
    at = 0
    while at < len(lines):
        line = re.sub(r"(?<!\\)\{([\w-]+)\}", lambda m: known.get(m[1].lower(), m[0]), lines[at])
        at += 1
        if line.rstrip() == "////":
            at = _while(lines, at, lambda text: text.rstrip() != "////") + 1
        elif _ADOC_LITERAL.fullmatch(line):
            end = _while(
                lines,
                at,
                lambda text, mark=line[:3]: (
                    not (text.startswith(mark) and text.strip() == text[:1] * len(text.strip()))
                ),
            )
            writer.lines += lines[at:end]
            at = end + 1
        elif re.fullmatch(r"[|,:!]===\s*", line):
            end = _while(lines, at, lambda text, mark=line: text.strip() != mark.strip())
            about = lines[at - 2] if at > 1 and lines[at - 2].startswith("[") else ""
            _write_table(writer, _adoc_rows(lines[at:end], about, line[0], known))
            at = end + 1
        elif found := _ADOC_NAME.fullmatch(line):
            known[found[1].lower()] = (found[2] or "").strip()
        elif found := _ADOC_HEADING.fullmatch(line):
            writer.heading(len(found[1]), collapse(_ADOC_ANCHOR.sub("", found[2])))
        elif not line.startswith("//") and not _ADOC_HIDDEN.fullmatch(line.rstrip()):
            line = re.sub(r"^\.(?=[^\s.])", "", line)  # the title of a block
            writer.lines.append(_ADOC_ANCHOR.sub("", line).rstrip())
    return _document(writer, written, encoding)


def _adoc_rows(lines: list[str], about: str, mark: str, known: dict[str, str]) -> list[list[str]]:
    sign = {"|": "|", "!": "!", ",": ",", ":": ":"}[mark]
    cut = re.compile(
        rf"(?<!\\)(?:\d*\.?\d*[+*])?(?:[<^>.]{{0,2}}[aehlmsd]?)?{re.escape(sign)}" if sign in "|!" else re.escape(sign)
    )
    rows = [[cell.strip() for cell in cut.split(line)[1 if sign in "|!" else 0 :]] for line in lines if line.strip()]
    stated = re.search(r'cols\s*=\s*"?([^"\]]*)', about)
    width = 0
    if stated:
        for one in re.split("[,;]", stated[1]):
            times = re.match(r"\s*(\d+)\*", one)
            width += int(times[1]) if times else 1
    width = width or len(rows[0] if rows else [])
    if not width or width > 300:
        return rows
    cells: list[str] = []
    for line in lines:
        if sign in "|!" and line.strip() and not cut.search(line) and cells:
            cells[-1] = f"{cells[-1]}\n{line.strip()}"  # a cell goes on
        elif line.strip():
            first, *others = cut.split(line)
            cells += [cell.strip() for cell in (others if sign in "|!" else [first, *others])]
    return [cells[i : i + width] for i in range(0, len(cells), width)]


def read_org(data: bytes, cfg: IngestConfig) -> Document:
    """An Org file, without the states, priorities and tags of its headings, and without drawers."""
    written, encoding = decode(data, cfg)
    writer = Outline()
    lines = clean(written).split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if found := _ORG_BLOCK.fullmatch(line):
            end = _while(lines, at, lambda text, name=found[1]: text.strip().lower() != f"#+end_{name.lower()}")
            writer.lines += [] if found[1].lower() == "comment" else lines[at:end]
            at = end + 1
        elif found := _ORG_HEADING.fullmatch(line):
            writer.heading(len(found[1]), collapse(_ORG_LINK.sub(_link_text, found[2])))
        elif re.fullmatch(r"\s*:[\w-]+:\s*", line):
            end = _while(lines, at, lambda text: text.strip().upper() != ":END:" and not text.startswith("*"))
            at = end + (end < len(lines) and lines[end].strip().upper() == ":END:")
        elif found := _ORG_KEY.fullmatch(line):
            if found[1].lower() == "title":
                writer.title = collapse(found[2])
            writer.lines += [found[2]] if found[1].lower() in ("title", "subtitle", "author", "caption") else []
        elif line.lstrip().startswith("|"):
            end = _while(lines, at, lambda text: text.lstrip().startswith("|"))
            _write_table(writer, [
                [cell.strip() for cell in row.strip().strip("|").split("|")]
                for row in lines[at - 1 : end] if not re.match(r"\s*\|[-+]", row)
            ])  # fmt: skip
            at = end
        elif not re.match(r"\s*#(?:\s|$)", line):
            writer.lines.append(_ORG_LINK.sub(_link_text, line).rstrip())
    return _document(writer, written, encoding)


def _link_text(found: re.Match[str]) -> str:
    return f"{found[2]} ({found[1]})" if found[2] and ":" in found[1] else found[2] or found[3]


def _document(writer: Outline, written: str, encoding: str) -> Document:
    writer.close()
    title = writer.title or writer.first
    return assemble(writer.parts, title, encoding=encoding, tables=writer.tables, notes=shapeless(written))
