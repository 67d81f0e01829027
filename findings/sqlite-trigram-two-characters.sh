#!/usr/bin/env bash
# SQLite 3.40.1 (Debian 12's, so that of its Python) and 3.54.1, FTS5 with the trigram tokenizer.
# Expected: the tokenizer for text without spaces finds Chinese words; where a word is too short for the index, LIKE on
#   the same table finds it by going through all rows, as the manual says.
# Seen: MATCH of a word of two characters, as most Chinese words are, finds nothing in either version and raises nothing.
#   LIKE finds it in 3.54.1, and nothing in 3.40.1, where a table without FTS5 finds it; with Latin letters it is found
#   in both. instr() finds it in both.
# Why it matters: a search tried with Latin text, or on a newer SQLite, finds no Chinese word on the server, and an empty
#   result is what a search without a hit looks like. Index bigrams of one's own, or search by instr().
# Source: https://www.sqlite.org/fts5.html#the_trigram_tokenizer, and the run below (3.42.0 is right again).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.40.1.0 --target "$folder/old"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0 --target "$folder/new"
cat >"$folder/run.py" <<'PY'
import sys

import apsw

version = getattr(apsw, "sqlite_lib_version", None) or apsw.sqlitelibversion
run = apsw.Connection(":memory:").cursor().execute
run("CREATE VIRTUAL TABLE indexed USING fts5(text, tokenize = 'trigram')")
run("CREATE TABLE plain (text)")
for table in ("indexed", "plain"):
    for text in ("员工的年假有十五天", "annual leave"):
        run(f"INSERT INTO {table} VALUES (?)", [text])
seen = {}
for word in ("年假", "年假有", "ea"):
    seen[word] = [
        len(list(run(sql, [word])))
        for sql in (
            "SELECT * FROM indexed WHERE indexed MATCH ?",
            "SELECT * FROM indexed WHERE text LIKE '%' || ? || '%'",
            "SELECT * FROM plain WHERE text LIKE '%' || ? || '%'",
            "SELECT * FROM indexed WHERE instr(text, ?)",
        )
    ]
print(version(), "found by MATCH, LIKE, LIKE without FTS5, instr:", seen)
assert seen == {"年假": [0, int(sys.argv[1]), 1, 1], "年假有": [1, 1, 1, 1], "ea": [0, 1, 1, 1]}
PY
PYTHONPATH="$folder/old" "$folder/venv/bin/python" "$folder/run.py" 0
PYTHONPATH="$folder/new" "$folder/venv/bin/python" "$folder/run.py" 1
echo "as described"
