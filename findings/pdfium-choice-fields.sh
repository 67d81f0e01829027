#!/usr/bin/env bash
# pypdfium2 5.15.2 (pdfium), the value of a form field that is a choice from a list.
# Expected: FPDFAnnot_GetFormFieldValue gives what the field shows, and of a list all that is chosen.
# Seen: it gives the value that the file keeps, `2` where the page shows `South` (options may have both), and of a list
#   in which several are chosen only the first. Nothing says so.
# Why it matters: `Region 2` is in the index, and nobody who asks for the South finds it; of three days one is known. Ask
#   FPDFAnnot_IsOptionSelected and FPDFAnnot_GetOptionLabel of each option; the value is for fields without options.
# Source: ISO 32000-1, 12.7.4.4 (choice fields: Opt, V), fpdf_annot.h, and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pypdfium2==5.15.2 pikepdf==10.17.0
"$folder/venv/bin/python" - <<'PY'
from ctypes import c_ushort
from io import BytesIO

import pypdfium2
import pypdfium2.raw as raw
from pikepdf import Array, Dictionary, Name, Pdf, String

pdf = Pdf.new()
page = pdf.add_blank_page(page_size=(400, 200))
pairs = Array([Array([String("1"), String("North")]), Array([String("2"), String("South")])])
days = Array([String(day) for day in ("Mon", "Tue", "Wed")])
about = {"Type": Name.Annot, "Subtype": Name.Widget, "FT": Name.Ch, "F": 4}
fields = Array([
    pdf.make_indirect(Dictionary(T=String("region"), Ff=1 << 17, Opt=pairs, V=String("2"), Rect=[9, 9, 99, 29], **about)),
    pdf.make_indirect(Dictionary(T=String("days"), Ff=1 << 21, Opt=days, V=Array([String("Mon"), String("Wed")]),
                                 I=Array([0, 2]), Rect=[9, 49, 99, 99], **about)),
])
page.Annots = fields
pdf.Root.AcroForm = Dictionary(Fields=fields)
file = BytesIO()
pdf.save(file)
document = pypdfium2.PdfDocument(file.getvalue())
document.init_forms()
page, form = document[0], document.formenv.raw


def text(ask, *what):
    size = ask(form, *what, None, 0)
    buffer = (c_ushort * (size // 2))()
    ask(form, *what, buffer, size)
    return bytes(buffer).decode("utf-16-le").rstrip("\0")


for shown, kept in ((["South"], "2"), (["Mon", "Wed"], "Mon")):
    field = raw.FPDFPage_GetAnnot(page.raw, 0 if kept == "2" else 1)
    value = text(raw.FPDFAnnot_GetFormFieldValue, field)
    options = range(raw.FPDFAnnot_GetOptionCount(form, field))
    chosen = [text(raw.FPDFAnnot_GetOptionLabel, field, i) for i in options
              if raw.FPDFAnnot_IsOptionSelected(form, field, i)]
    print("the page shows", chosen, "the value is", repr(value))
    assert (chosen, value) == (shown, kept)
print("as described")
PY
