#!/usr/bin/env bash
# watchfiles 1.3.0 on Linux: a watched folder is moved away, and another one is made in its place.
# Expected: `watch("docs")` tells of what happens in docs, the new folder; or it raises.
# Seen: "docs" is told as deleted once. What is written into the new folder is never told. What is written into the
#   folder that was moved away is, as if it stood in docs. The generator goes on, also when that one is removed.
# Why it matters: synchronisation tools, deployments and mounts exchange folders whole. A service that follows one
#   goes on as if all were well and hears nothing. Compare the inode of the path now and then, and begin to watch anew.
# Source: inotify(7), "Limitations and caveats" (inodes are watched, not paths), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check watchfiles==1.3.0
cd "$folder"
venv/bin/python - <<'PY'
import shutil
import threading
import time
from pathlib import Path

from watchfiles import watch

docs, away = Path("docs").absolute(), Path("away").absolute()
docs.mkdir()
told, ended, stop = [], threading.Event(), threading.Event()


def follow():
    for changes in watch(docs, debounce=200, step=50, rust_timeout=500, stop_event=stop):
        told.extend((change.name, Path(path).relative_to(docs.parent).as_posix()) for change, path in changes)
    ended.set()


threading.Thread(target=follow, daemon=True).start()
time.sleep(1)
docs.rename(away)
docs.mkdir()
time.sleep(1)
(docs / "new.txt").write_text("in the new folder")
(away / "old.txt").write_text("in the one that was moved away")
time.sleep(2)
print(*sorted(told), sep="\n")
assert ("added", "docs/new.txt") not in told and ("added", "docs/old.txt") in told and not ended.is_set()
shutil.rmtree(away)
time.sleep(2)
(docs / "newer.txt").write_text("in the new folder")
time.sleep(2)
print("after the old one is gone:", sorted(told)[-1], "ended" if ended.is_set() else "goes on")
assert not any(path.startswith("docs/new") for _, path in told) and not ended.is_set()
print("as described")
PY
