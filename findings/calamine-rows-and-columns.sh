#!/usr/bin/env bash
# python-calamine 0.9.1, a sheet whose first cell that is used is C4.
# Expected: the rows and columns of `iter_rows`, of `to_python` and of `merged_cell_ranges` count from one place.
# Seen: `iter_rows` gives rows from the top of the sheet, its columns from the first one that is used; `to_python`
#   begins both at the first that is used, with `skip_empty_area=False` neither; merged ranges count from A1.
# Why it matters: a merged header is written over the wrong columns, and a price stands under another heading, only in
#   sheets with an empty margin. `start` says where the columns begin.
# Source: https://github.com/dimastbk/python-calamine, and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-calamine==0.9.1 xlsxwriter==3.2.9
"$folder/venv/bin/python" - <<'PY'
from io import BytesIO

import xlsxwriter
from python_calamine import CalamineWorkbook

file = BytesIO()
with xlsxwriter.Workbook(file) as book:
    sheet = book.add_worksheet("Prices")
    sheet.merge_range("C4:D4", "price")
    sheet.write_row("C5", ["old", "new"])
read = CalamineWorkbook.from_filelike(BytesIO(file.getvalue())).get_sheet_by_name("Prices")
rows, whole, cut = list(read.iter_rows()), read.to_python(skip_empty_area=False), read.to_python()
((first, _),) = read.merged_cell_ranges
print("start", read.start, "merged from", first)
print("iter_rows: the header at", (next(i for i, row in enumerate(rows) if "price" in row), rows[3].index("price")))
print("to_python:", (0, cut[0].index("price")), "without skip_empty_area:", (3, whole[3].index("price")))
assert read.start == (3, 2) and first == (3, 2)
assert rows == [["", ""], ["", ""], ["", ""], ["price", ""], ["old", "new"]]
assert cut == rows[3:] and whole[3] == ["", "", "price", ""]
print("as described")
PY
