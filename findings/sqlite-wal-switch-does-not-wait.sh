#!/usr/bin/env bash
# SQLite 3.54.1 (by apsw 3.54.1.0): `PRAGMA journal_mode = wal` on a file that another connection writes.
# Expected: with a busy timeout of five seconds it waits for the writer, as every other statement does.
# Seen: "database is locked" after no time at all. (Where the other one only reads, it does wait.)
# Why it matters: processes that open a new database together, each of which sets the mode first, as advised, fail at
#   random, though each has a timeout; the error shows under load and at a first start. Try again oneself, or let one
#   make the file.
# Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/c3ref/busy_timeout.html (a handler is not always
#   called) and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cd "$folder"
venv/bin/python - <<'PY'
import threading
import time

import apsw

print("SQLite", apsw.sqlite_lib_version())
one, other = apsw.Connection("a.db"), apsw.Connection("a.db")
one.execute("CREATE TABLE t (x)")
other.set_busy_timeout(5_000)


def waited(statement):
    one.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    threading.Timer(1, lambda: one.execute("COMMIT")).start()
    begun = time.monotonic()
    try:
        list(other.execute(statement))
        said = "done"
    except apsw.BusyError as error:
        said = str(error)
    took = time.monotonic() - begun
    time.sleep(1.5)
    print(f"{statement:28} beside a writer: {said} after {took:.1f} s")
    return said, took


insert, switch = waited("INSERT INTO t VALUES (2)"), waited("PRAGMA journal_mode = wal")
assert insert[0] == "done" and insert[1] > 0.5
assert "locked" in switch[0] and switch[1] < 0.5
print("as described")
PY
