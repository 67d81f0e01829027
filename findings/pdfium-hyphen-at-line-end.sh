#!/usr/bin/env bash
# pypdfium2 5.15.2 (pdfium): a line that ends with a hyphen, and goes on in the next one.
# Expected: the text has the hyphen and a line end, as the page; or, where a word was cut, neither. Both ways to ask for
#   the text give the same.
# Seen: hyphen and line end become one character that is none: U+FFFE from `get_text_range`, U+0002 from
#   `get_text_bounded`. So it is for a cut word, "inter-national", and for a hyphen that belongs there, "ISO-9001".
# Why it matters: the odd character goes into an index as a part of the word, and neither "ISO-9001" nor "ISO 9001" is
#   found; who takes it out gets "ISO9001" and "GRNAB" for GRN-AB. Whether the hyphen stays is for the reader to decide.
# Source: fpdf_text.h says nothing of it; cpdf_textpage.cpp marks hyphens so; the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pypdfium2==5.15.2 pikepdf==10.17.0
"$folder/venv/bin/python" - <<'PY'
from io import BytesIO

import pypdfium2
from pikepdf import Dictionary, Name, Pdf


def texts(*lines):
    pdf = Pdf.new()
    page = pdf.add_blank_page(page_size=(300, 100))
    page.Resources = Dictionary(Font=Dictionary(F=Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)))
    page.Contents = pdf.make_stream(f"BT /F 12 Tf 20 60 Td ({lines[0]}) Tj 0 -14 Td ({lines[1]}) Tj ET".encode())
    file = BytesIO()
    pdf.save(file)
    words = pypdfium2.PdfDocument(file.getvalue())[0].get_textpage()
    return words.get_text_range(), words.get_text_bounded()


for lines in (("an inter-", "national fee"), ("see ISO-", "9001 now"), ("order GRN-", "AB today")):
    whole, bounded = texts(*lines)
    print(lines, ascii(whole), ascii(bounded))
    assert whole == f"{lines[0][:-1]}\ufffe{lines[1]}" and bounded == f"{lines[0][:-1]}\x02{lines[1]}"
print("as described")
PY
