"""JSON -> lines `a.b[0].name: value`, a section a record: each line can be found and quoted without its braces."""

import json
from collections.abc import Iterator
from typing import Any

from core.config import IngestConfig
from core.types import Document
from ingest.readers.encoding import decode
from ingest.readers.text import Part, assemble, clean, read_text


def read_json(data: bytes, cfg: IngestConfig) -> Document:
    """A JSON file; the items of an outermost list are its records. What is not strict JSON is read as plain text."""
    text, encoding = decode(data, cfg)
    try:
        value = json.loads(text)
    except ValueError:  # comments, trailing commas, a cut end: the words are there all the same
        return read_text(data, cfg)
    records = value if isinstance(value, list) and any(isinstance(item, dict | list) for item in value) else [value]
    return assemble((Part(_record(record)) for record in records), encoding=encoding)


def read_json_lines(data: bytes, cfg: IngestConfig) -> Document:
    """A JSON value a line, each a record; a line that is none is kept as it stands."""
    text, encoding = decode(data, cfg)
    return assemble((Part(_line_record(line)) for line in clean(text).split("\n")), encoding=encoding)


def _line_record(line: str) -> str:
    try:
        return _record(json.loads(line))
    except ValueError:
        return line


def _record(value: Any) -> str:
    return "\n".join(_lines(value))


def _lines(value: Any) -> Iterator[str]:
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            items = [(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
            stack.extend(reversed(items))
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            stack.extend((f"{name}[{i}]", value[i]) for i in range(len(value) - 1, -1, -1))
        else:
            text = _scalar(value)
            if text:
                yield f"{name}: {text}" if name else text


def _scalar(value: Any) -> str:
    """A value on its line; lists of plain values are written out, lists of lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, list) for item in value):
        return ", ".join(filter(None, map(_scalar, value)))
    return "" if value is None or value == [] else json.dumps(value, ensure_ascii=False)
