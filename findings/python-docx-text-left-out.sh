#!/usr/bin/env bash
# python-docx 1.2.0, `Paragraph.text` and `Document.paragraphs`.
# Expected: the text that Word shows, or that it shows once changes are accepted.
# Seen: inserted text of tracked changes, content controls and smart tags within a paragraph are left out, while what
#   stands around them is joined: "notice of  days". Paragraphs within a content control are no paragraphs at all.
# Why it matters: contracts are kept with tracked changes, and templates and cover pages are made of content controls:
#   what a reader takes from them lacks the very words that were negotiated or filled in, and nothing says so.
# Source: https://python-docx.readthedocs.io/en/latest/api/text.html (`Paragraph.text`), ISO/IEC 29500-1 17.13.5.18
#   (ins), 17.5.2 (sdt), 17.5.1.9 (smartTag), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-docx==1.2.0
"$folder/venv/bin/python" - <<'PY'
from io import BytesIO

from docx import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

document = Document()
paragraph = document.add_paragraph("A notice of ")
word = "<w:r><w:t>{}</w:t></w:r>"
parts = [
    '<w:ins {} w:id="1" w:author="A" w:date="2026-01-01T00:00:00Z">' + word.format("sixty") + "</w:ins>",
    '<w:sdt {}><w:sdtContent>' + word.format(" working") + "</w:sdtContent></w:sdt>",
    '<w:smartTag {} w:uri="urn:example" w:element="unit">' + word.format(" days") + "</w:smartTag>",
]
for part in parts:
    paragraph._p.append(parse_xml(part.format(nsdecls("w"))))
paragraph.add_run(" is given.")
block = "<w:sdt {}><w:sdtContent><w:p>" + word.format("Signed in Berlin.") + "</w:p></w:sdtContent></w:sdt>"
paragraph._p.addnext(parse_xml(block.format(nsdecls("w"))))
file = BytesIO()
document.save(file)
seen = [paragraph.text for paragraph in Document(file).paragraphs]
print("shown by Word: A notice of sixty working days is given. / Signed in Berlin.")
print("python-docx:  ", " / ".join(seen))
assert seen == ["A notice of  is given."]
print("as described")
PY
