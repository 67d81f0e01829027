"""What is wrong with the document of another's reader, which may hold anything: a catalog takes only what is right."""

import re
from collections.abc import Iterator
from datetime import date

from core.types import Document, Section
from ingest.readers.text import MAX_TAG, MAX_TAGS, tags_of

MOST = 2**31 - 1  # the largest number that every catalog takes
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")


def fault(document: object) -> str:
    """Why a document cannot be kept, "" where it can: types, date, tags, and sections in order that cover its text."""
    if not isinstance(document, Document):
        return f"it is {_kind(document)} and no core.types.Document"
    return next(_faults(document), "")


def _faults(document: Document) -> Iterator[str]:
    for name in ("text", "title", "date"):
        if not _is_text(getattr(document, name)):
            yield _said(name, "a text", getattr(document, name))
    if document.encoding is not None and not _is_text(document.encoding):
        yield _said("encoding", "a text or None", document.encoding)
    for name in ("notes", "tags"):
        if not _are_texts(getattr(document, name)):
            yield _said(name, "a tuple of texts", getattr(document, name))
    if document.pages is not None and not _is_number(document.pages):
        yield _said("pages", "a whole number or None", document.pages)
    if not _is_number(document.tables):
        yield _said("tables", "a whole number", document.tables)
    for name in ("empty_pages", "ocr_pages"):
        if not _are_pages(getattr(document, name)):
            yield _said(name, "a tuple of page numbers from 1", getattr(document, name))
    if not _is_date(document.date):
        yield f"date must be a year, a month or a day as 2026, 2026-03 or 2026-03-14, not {document.date!r}"
    if tags_of(document.tags) != document.tags:
        wanted = f"one line of at most {MAX_TAG} characters without # in front, none twice, at most {MAX_TAGS}"
        yield f"each of its tags must be {wanted}, not {_short(document.tags)}"
    yield from _of_sections(document)


def _of_sections(document: Document) -> Iterator[str]:
    if not isinstance(document.sections, tuple):
        yield _said("sections", "a tuple of core.types.Section", document.sections)
        return
    at = 0
    for section in document.sections:
        if not isinstance(section, Section):
            yield _said("sections", "a tuple of core.types.Section", section)
            return
        place = f"section {_short(section.start)}:{_short(section.end)}"
        if not _is_number(section.start) or not _is_number(section.end):
            yield f"{place} must begin and end at whole numbers"
            return
        if not _are_texts(section.headings):
            yield _said(f"headings of {place}", "a tuple of texts", section.headings)
        if section.page is not None and not _is_page(section.page):
            yield _said(f"page of {place}", "a number from 1 or None", section.page)
        if not at <= section.start <= section.end <= len(document.text):
            yield f"its sections overlap or leave its text at {section.start}:{section.end}"
        if document.text[at : section.start].strip():
            yield f"its sections leave out a part of its text, {at}:{section.start}"
        at = section.end
    if document.sections and document.text[at:].strip():
        yield f"its sections leave out a part of its text, {at}:{len(document.text)}"


def _is_text(value: object) -> bool:
    """Whether it is a text that can be stored: half of a surrogate pair cannot."""
    return isinstance(value, str) and (value.isascii() or not re.search("[\ud800-\udfff]", value))


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_text(each) for each in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _is_page(value: object) -> bool:
    return _is_number(value) and value != 0


def _are_pages(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_page(each) for each in value)


def _is_date(text: str) -> bool:
    if not text:
        return True
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat((text + "-01-01")[:10]))
    except ValueError:
        return False


def _said(name: str, wanted: str, value: object) -> str:
    return f"{name} must be {wanted}, not {_kind(value)} {_short(value)}"


def _kind(value: object) -> str:
    return type(value).__name__


def _short(value: object) -> str:
    said = " ".join(repr(value).split())
    return said if len(said) <= 60 else f"{said[:60]}…"
