#!/usr/bin/env bash
# pypdfium2 5.15.2: a page with characters beyond U+FFFF, as in Chinese names (𬭎, 𠮷).
# Expected: `get_text_range()[i]` is the character of `get_charbox(i)` and `get_text_range(i, 1)`, as it is on other
#   pages.
# Seen: pdfium counts each such character as two, Python's text has it as one: from there on positions are off by one
#   for each, boxes are those of other characters. One of the two asked for alone is "" (the error is passed over), so a
#   reader that goes character by character loses the character and says nothing.
# Why it matters: passages are marked beside their place, and people whose names are written so are not in the index.
#   Join the two numbers of FPDFText_GetUnicode, and count such a character as two.
# Source: fpdf_text.h (`FPDFText_GetText`: UTF-16), pypdfium2's `get_text_range`, and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pypdfium2==5.15.2 pikepdf==10.17.0
"$folder/venv/bin/python" - <<'PY'
from io import BytesIO

import pypdfium2
from pikepdf import Dictionary, Name, Pdf

pdf = Pdf.new()
page = pdf.add_blank_page(page_size=(400, 100))
font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)
font.ToUnicode = pdf.make_stream(  # the letter Q stands for U+2CB4E
    b"/CIDInit /ProcSet findresource begin begincmap /CMapType 2 def 1 begincodespacerange <00> <ff> endcodespacerange "
    b"2 beginbfrange <20> <50> <0020> <52> <7e> <0052> endbfrange 1 beginbfchar <51> <D872DF4E> endbfchar endcmap end"
)
page.Resources = Dictionary(Font=Dictionary(F=pdf.make_indirect(font)))
page.Contents = pdf.make_stream(b"BT /F 20 Tf 40 50 Td (Q Li has five days) Tj ET")
file = BytesIO()
pdf.save(file)
words = pypdfium2.PdfDocument(file.getvalue())[0].get_textpage()
text = words.get_text_range()
alone = [words.get_text_range(i, 1) for i in range(words.count_chars())]
print(ascii(text), "characters:", len(text), "by pdfium:", words.count_chars())
place = text.index("five")
print("the text has", repr(text[place]), "where pdfium has", repr(alone[place]), "; alone:", alone[:4])
assert text == "\U0002cb4e Li has five days" and words.count_chars() == len(text) + 1
assert alone[:2] == ["", ""] and alone[place] != "f" and alone[place + 1] == "f"
print("as described")
PY
