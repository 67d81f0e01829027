"""Files that are whole or not there."""

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write aside, fsync, rename: after a crash or a power cut the file holds the old text or the new one, all of it.

    Raises `OSError`; then nothing is left beside the file.
    """
    aside = file.with_name(file.name + ".writing")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk remember the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
