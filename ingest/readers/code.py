"""Source code -> its text, a section for each class, function or the like, found by the line that defines it.

One expression for all languages: what is missed only makes a section longer, and the text is always whole.
"""

import re
from collections.abc import Iterator

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document, Section
from ingest.readers.encoding import decode
from ingest.readers.text import HeadingPath, clean, descend, names, shapeless

_MAX_LINE = 4000  # characters; longer ones are not written by hand
_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([\w:\s]*\))?|unsafe|"
    r"const|virtual|override|open|sealed|data|inline|extern|partial|suspend|local|declare|case|implicit|mutating)\s+)*"
)
_KEYWORDS = (
    "class|interface|struct|enum|trait|impl|module|namespace|func|fn|function|fun|def|sub|proc|object|protocol|"
    "extension|record|type|message|service|union|macro_rules!|defmodule|defp?"
)
_STATEMENTS = (
    "return|else|elseif|elsif|elif|if|unless|for|foreach|while|until|switch|match|when|with|catch|try|new|throw|raise|case|"
    "do|loop|lock|synchronized|typedef|await|yield|assert|print|echo|using|delete|not|and|or|in|end|begin"
)
_NAME = r"[^\W\d][\w$]*(?:(?:::|\.)[\w$]+)*[?!]?"
_DEFINITION = re.compile(
    rf"""(?P<indent>[ \t]*)(?:
    {_MODIFIERS}(?:{_KEYWORDS})(?:<[^<>\n]*>)?\s+(?:\([^()\n]*\)\s*)?(?P<keyword>{_NAME})(?=[\s(<:{{\[;]|$)(?!.*;\s*$)
    |{_MODIFIERS}(?:const|let|var)\s+(?P<arrow>{_NAME})\s*(?::[^=\n]*)?=\s*(?:async\s*)?
        (?:function\b|(?:\([^()\n]*\)|[\w$]+)\s*(?::[^=\n]*)?=>)
    |(?P<assigned>{_NAME})\s*(?:<-|=)\s*function\b
    |(?:create|CREATE)\s+(?:or\s+replace\s+|OR\s+REPLACE\s+)?(?:\w+\s+)?
        (?:table|view|function|procedure|trigger|TABLE|VIEW|FUNCTION|PROCEDURE|TRIGGER)\s+
        (?:if\s+not\s+exists\s+|IF\s+NOT\s+EXISTS\s+)?[`"\[]?(?P<sql>{_NAME})
    |(?!(?:{_STATEMENTS})\b)(?P<type>(?:[A-Za-z_<][\w:<>,.?\[\]]*[\s*&]+)*)(?P<typed>~?{_NAME})
        \s*\((?:[^;={{()]*|[^;={{]*\)\s*(?:const|noexcept|override|:\s*[\w<>\[\]|.,]+|throws\s[\w,.\s]+)?\s*(?P<open>\{{?))\s*$
    )""",
    re.X,
)
_ABOVE = re.compile(r"[ \t]*(?://|/\*|\*|#(?!\s*(?:include|define|if|endif|pragma|else|undef))|@|--|\[|%|;)")
_NO_DEFINITION = re.compile(r"[ \t]*(?://|/?\*|#|--|%|;)")


def read_code(data: bytes, cfg: IngestConfig) -> Document:
    """Source code; the names of the definitions around a line are its headings. Minified code is refused."""
    written, encoding = decode(data, cfg)
    text = clean(written)
    lines = text.split("\n")
    if 2 * sum(len(line) for line in lines if len(line) > _MAX_LINE) > len(text):
        hint = "leave it out with ingest.exclude: its source is what can be read"
        raise ReadError(f"minified or generated: lines of more than {_MAX_LINE:,} characters", hint)
    return Document(text, "", tuple(_sections(text, lines)), encoding=encoding, notes=tuple(shapeless(written)))


def _sections(text: str, lines: list[str]) -> Iterator[Section]:
    path: HeadingPath = ()
    start = 0
    for position, indent, name in _definitions(lines):
        if text[start:position].strip():
            yield Section(start, position, names(path))
            start = position
        path = descend(path, indent, name)
    if text[start:].strip():
        yield Section(start, len(text), names(path))


def _definitions(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """(offset, indentation, name) of definitions on the outermost two levels, comments above them included."""
    outer = -1  # indentation of the outermost definition that the line may lie in
    inner = 0
    position = above = 0  # offsets of the line, and of the comments and decorators directly above it
    for line in lines:
        stripped = line.strip()
        indent = len(line) - len(line.lstrip()) if stripped else 0
        found = _DEFINITION.match(line) if stripped and len(line) < 300 and not _NO_DEFINITION.match(line) else None
        if stripped and indent <= outer and stripped[0] not in "{})]":
            outer = -1
        name = _name(found) if found else ""
        if name and (indent == 0 or (outer == 0 and indent <= inner)):
            if indent == 0:
                outer, inner = 0, 8
            else:
                inner = indent
            yield above, indent, name
        position += len(line) + 1
        if not (_ABOVE.match(line) and stripped):
            above = position


def _name(found: re.Match[str]) -> str:
    """The name that is defined; a bare call looks like a C function but has neither a type nor a brace."""
    if found["typed"]:
        return found["typed"] if found["type"] or found["open"] else ""
    return next(filter(None, found.group("keyword", "arrow", "assigned", "sql")), "")
