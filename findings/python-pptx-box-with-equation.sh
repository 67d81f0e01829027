#!/usr/bin/env bash
# python-pptx 1.0.2, a text box on a slide that holds an equation.
# Expected: `slide.shapes` lists every shape of the slide, and `text_frame.text` gives at least the words beside what
#   it does not know.
# Seen: the whole box is not there. PowerPoint writes a shape with an equation, with ink or with a newer kind of chart in
#   two forms (mc:AlternateContent), and the list passes over what it has no class for: nothing says so.
# Why it matters: whatever reads slides by this list loses the sentence that states the formula, as readers made on it do,
#   and with it the words around it. Walk the tree, and take the first branch of each mc:AlternateContent that is filled.
# Source: ISO/IEC 29500-3 (markup compatibility), https://python-pptx.readthedocs.io/en/latest/api/shapes.html, and the
#   run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-pptx==1.0.2
"$folder/venv/bin/python" - <<'PY'
from copy import deepcopy
from io import BytesIO

from pptx import Presentation
from pptx.oxml import parse_xml
from pptx.util import Inches

NAMES = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
deck = Presentation()
slide = deck.slides.add_slide(deck.slide_layouts[6])
for top, words in ((1, "The penalty is "), (3, "It is due in May.")):
    slide.shapes.add_textbox(Inches(1), Inches(top), Inches(4), Inches(1)).text_frame.text = words
shape = slide.shapes[0]._element
equation = "<m:oMath><m:r><m:t>3%</m:t></m:r></m:oMath>"
both = parse_xml(f'<mc:AlternateContent {NAMES}><mc:Choice Requires="a14"/><mc:Fallback/></mc:AlternateContent>')
shape.getparent().replace(shape, both)
both[1].append(deepcopy(shape))
both[0].append(shape)
shape.find(".//{*}p").append(parse_xml(f"<a14:m {NAMES}>{equation}</a14:m>"))
file = BytesIO()
deck.save(file)
seen = [shape.text_frame.text for shape in Presentation(file).slides[0].shapes]
print("on the slide: The penalty is 3% / It is due in May.")
print("python-pptx: ", " / ".join(seen))
assert seen == ["It is due in May."]
print("as described")
PY
