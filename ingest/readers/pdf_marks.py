"""What people put on the pages of a PDF: values of form fields, notes and comments. Source: fpdf_annot.h."""

from collections.abc import Callable
from ctypes import c_ushort
from typing import TYPE_CHECKING, Any

from ingest.readers.pdf_form import Filled
from ingest.readers.pdf_words import Word
from ingest.readers.text import collapse

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

TICKED, UNTICKED = "☑", "☐"
_BOXES = (TICKED, UNTICKED)
_MOST = 5000  # annotations of a page
_LINE = 14.0  # points: a field may be higher than its first line
_HIDDEN = 0x02 | 0x20  # flags
_PASSWORD = 1 << 13


def marks(pdf: "PdfDocument", page: "PdfPage") -> tuple[list[Word], list[str]]:
    """Values of fields and free text as words in their places; comments, each a line with who wrote it."""
    import pypdfium2.raw as raw

    words: list[Word] = []
    comments: list[str] = []
    for index in range(min(raw.FPDFPage_GetAnnotCount(page.raw), _MOST)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN or kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP):
                continue
            if kind == raw.FPDF_ANNOT_WIDGET:
                value = _value(raw, pdf, annotation) if pdf.formenv else ""
                filled = _placed(raw, annotation, value)
                words += [Filled(w.text, w.left, w.bottom, w.right, w.top, value in _BOXES) for w in filled]
                continue
            said = _string(raw, annotation, b"Contents")
            if kind == raw.FPDF_ANNOT_FREETEXT:
                words += _placed(raw, annotation, said)
            elif said:
                author = _string(raw, annotation, b"T")
                comments.append(f"[{author}: {said}]" if author and not said.startswith(author) else f"[{said}]")
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return words, comments


def _placed(raw: Any, annotation: Any, text: str) -> list[Word]:
    rect = raw.FS_RECTF()
    if not text or not raw.FPDFAnnot_GetRect(annotation, rect):
        return []
    bottom, top = min(rect.bottom, rect.top), max(rect.bottom, rect.top)
    return [Word(text, min(rect.left, rect.right), max(bottom, top - _LINE), max(rect.left, rect.right), top)]


def _value(raw: Any, pdf: "PdfDocument", annotation: Any) -> str:
    form = pdf.formenv.raw  # type: ignore[union-attr]
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        return TICKED if raw.FPDFAnnot_IsChecked(form, annotation) else UNTICKED
    if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
        return ""
    if raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        return ""
    if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
        chosen = [
            _wide(lambda buffer, size, at=at: raw.FPDFAnnot_GetOptionLabel(form, annotation, at, buffer, size))
            for at in range(min(raw.FPDFAnnot_GetOptionCount(form, annotation), _MOST))
            if raw.FPDFAnnot_IsOptionSelected(form, annotation, at)
        ]
        if any(chosen):  # as they are shown, which may be by other words than the file keeps
            return ", ".join(filter(None, chosen))
    return _wide(lambda buffer, size: raw.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))


def _string(raw: Any, annotation: Any, key: bytes) -> str:
    return _wide(lambda buffer, size: raw.FPDFAnnot_GetStringValue(annotation, key, buffer, size))


def _wide(ask: Callable[[Any, int], int]) -> str:
    """A UTF-16 text, by a function that says how many bytes it takes."""
    size = ask(None, 0)
    if not 2 < size < 2_000_000:
        return ""
    buffer = (c_ushort * (size // 2))()
    ask(buffer, size)
    return collapse(bytes(buffer).decode("utf-16-le", "replace").rstrip("\0").replace("\r", "\n"))
