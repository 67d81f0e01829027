"""Jupyter notebooks -> Markdown: cells of text as they are, code and what it printed in fences."""

import json
import re
from collections.abc import Iterator
from typing import Any

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode
from ingest.readers.markdown import read_markdown

_MAX_OUTPUT = 4000  # characters of a cell: what is printed is often a log
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PICTURE = re.compile(r"!\[([^\]\n]*)\]\(\s*(?:data|attachment):[^)\s]*\s*\)")


def read_notebook(data: bytes, cfg: IngestConfig) -> Document:
    """A notebook of format 3 or 4; pictures and other outputs that are no text are left out."""
    source, _ = decode(data, cfg)
    try:
        notebook = json.loads(source)
    except ValueError as error:
        raise ReadError(f"damaged notebook: {error}", "open it in Jupyter and save it again") from None
    if not isinstance(notebook, dict):
        raise ReadError("not a notebook: it has no cells", "give it the right suffix")
    sheets = [sheet for sheet in _dicts(notebook.get("worksheets"))] or [notebook]
    cells = [cell for sheet in sheets for cell in _dicts(sheet.get("cells"))]
    language = _name(notebook.get("metadata"))
    text = "\n\n".join(piece for cell in cells for piece in _pieces(cell, language) if piece.strip())
    return read_markdown(b"\xef\xbb\xbf" + text.encode("utf-8", "replace"), cfg)


def _pieces(cell: dict[str, Any], language: str) -> Iterator[str]:
    source = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "code":
        yield _fenced(source, language)
        printed = "\n".join(filter(None, map(_output, _dicts(cell.get("outputs"))))).strip("\n")
        yield _fenced(printed[:_MAX_OUTPUT] + ("\n..." if len(printed) > _MAX_OUTPUT else ""), "")
    elif kind == "heading":
        level = cell.get("level")
        yield "#" * (level if isinstance(level, int) and 0 < level < 7 else 1) + " " + " ".join(source.split())
    else:
        yield _PICTURE.sub(r"\1", source)


def _output(output: dict[str, Any]) -> str:
    if output.get("output_type") in ("error", "pyerr"):
        text = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    else:
        found = output.get("data")
        text = _text(output.get("text") or (found.get("text/plain") if isinstance(found, dict) else None))
    return _ANSI.sub("", text).rstrip("\n")


def _fenced(text: str, language: str) -> str:
    if not text.strip():
        return ""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _name(metadata: Any) -> str:
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    return re.sub(r"[^\w+#-]", "", _text(info.get("name"))) if isinstance(info, dict) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A string, or the lines of one."""
    if isinstance(value, list):
        return "".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""
