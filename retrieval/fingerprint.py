"""One hash of all that a model folder holds, without reading its gigabytes at every start.

The hash of a large file is remembered with what the file system says of it. A change that sets the time of the last
write back still shows in that of the last change of the inode (`st_ctime_ns`), which no program can set. A file that
was written within the last seconds is not remembered: it may change again within one tick of the clock.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from core.files import write_whole

FILE = "embedder-hashes.json"  # in the data folder
_SAYS_NOTHING = frozenset((".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".onnx", ".lock"))
_LARGE = 1 << 20  # bytes from which on a hash is worth remembering
_SETTLED_NS = 3_000_000_000
_Known = dict[str, list[int | str]]  # path -> size, mtime_ns, ctime_ns, inode, device, hash
_hashed: _Known = {}  # by this process, whatever file remembers it


def fingerprint(folder: Path, memory: Path | None = None, remembers: bool = True) -> str:
    """The hash of every file of a model folder that may decide a vector, by its name and all of its bytes.

    Read-mes, pictures and hidden files decide none, nor do ONNX files, which are not loaded. What is hashed is
    remembered in the file `memory`, if it may be and that can be written.
    """
    known = _read(memory)
    found: _Known = {}
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or file.suffix.lower() in _SAYS_NOTHING or not file.is_file():
            continue
        digest.update(f"{name.as_posix()}:{_hash(file, known, found)}\n".encode("utf-8", "surrogateescape"))
    if memory and remembers and any(known.get(path) != row for path, row in found.items()):
        _write(memory, known | found)
    return digest.hexdigest()


def earlier_fingerprint(folder: Path) -> str:
    """As knowledge bases of earlier versions hold it: some files, and of large ones the size and both ends."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".json", ".txt", ".safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}:{size}:".encode())
        with file.open("rb") as handle:
            digest.update(handle.read(1 << 20))
            if size > 2 << 20:
                handle.seek(-(1 << 20), os.SEEK_END)
                digest.update(handle.read())
    return digest.hexdigest()


def _hash(file: Path, known: _Known, found: _Known) -> str:
    """The hash of a file; of a large one that has settled it is put among what was `found`, too."""
    path, now = str(file.resolve()), time.time_ns()
    before = _stat(file)
    for rows in (known, _hashed):
        if (row := rows.get(path, []))[:-1] == before:
            found[path] = row
            return str(row[-1])
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    size, mtime, ctime, *_ = before
    if size >= _LARGE and now - max(mtime, ctime) > _SETTLED_NS and _stat(file) == before:
        found[path] = _hashed[path] = [*before, digest]
    return digest


def _stat(file: Path) -> list[int]:
    info = file.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev]


def _read(memory: Path | None) -> _Known:
    """What is remembered; nothing where that is no such file or holds anything else."""
    try:
        known = json.loads(memory.read_text("utf-8")) if memory else {}
    except (OSError, ValueError):
        return {}
    rows = known.items() if isinstance(known, dict) else ()
    return {path: row for path, row in rows if isinstance(row, list) and len(row) == 6}


def _write(memory: Path, known: _Known) -> None:
    try:
        write_whole(memory, json.dumps({path: row for path, row in known.items() if Path(path).exists()}, indent=0))
    except OSError:
        return  # a folder that is not there yet, or cannot be written: it is hashed anew at the next start
