#!/usr/bin/env bash
# openpyxl 3.1.5 (and pandas 2.3.3 on it), a cell whose text holds a carriage return, as web systems export them.
# Expected: the cell reads as Excel shows it: a line break.
# Seen: `Tokyo_x000D_branch`. XML would lose the character, so writers put `_x000D_` in its place (ST_Xstring); openpyxl
#   gives these seven letters as they stand. python-calamine 0.9.1 reads the character.
# Why it matters: the words beside are joined to one that nobody asks for, and the same file says different things to two
#   readers. Replace `_xHHHH_` once, so that `_x005F_x0041_` becomes `_x0041_` and no A.
# Source: ISO/IEC 29500-1, 22.9.2.19 (ST_Xstring), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openpyxl==3.1.5 pandas==2.3.3 xlsxwriter==3.2.9 python-calamine==0.9.1
"$folder/venv/bin/python" - <<'PY'
from io import BytesIO

import openpyxl
import pandas
import xlsxwriter
from python_calamine import CalamineWorkbook

file = BytesIO()
with xlsxwriter.Workbook(file) as book:
    book.add_worksheet("A").write(0, 0, "Tokyo\rbranch")
data = file.getvalue()
seen = {
    "openpyxl": openpyxl.load_workbook(BytesIO(data)).active["A1"].value,
    "pandas": pandas.read_excel(BytesIO(data), header=None).iloc[0, 0],
    "calamine": CalamineWorkbook.from_filelike(BytesIO(data)).get_sheet_by_index(0).to_python()[0][0],
}
for name, text in seen.items():
    print(f"{name}: {text!r}")
assert seen == {"openpyxl": "Tokyo_x000D_branch", "pandas": "Tokyo_x000D_branch", "calamine": "Tokyo\rbranch"}
print("as described")
PY
