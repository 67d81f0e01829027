"""Files that are whole or not there, and that nobody else reads."""

import logging
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

PRIVATE = 0o077  # the umask of our processes


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


def name_whole(part: Path, file: Path) -> None:
    """Give a written file its name: after a power cut there is none of that name, or one with all of its bytes.

    Raises `OSError`.
    """
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(file)
    sync_folder(file.parent)


def name_folder_whole(part: Path, folder: Path) -> None:
    """The same for a written folder, with all of its files.

    Raises `OSError`; where `folder` is there and not empty, too.
    """
    for at, _, files in os.walk(part, topdown=False):
        for file in files:
            with Path(at, file).open("rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(Path(at))
    part.rename(folder)
    sync_folder(folder.parent)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that the copy is whole or not there."""
    aside = target.with_name(f".{target.name}.writing")
    try:
        shutil.copyfile(source, aside)
        name_whole(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder with those around it, and have the disk remember their names."""
    new = [at for at in (folder, *folder.parents) if not at.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in new:
        with suppress(PermissionError):  # to write in a folder one need not be allowed to read it
            sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk remember the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep_private(data: Path) -> None:
    """Close a data folder, and what is in it, to everybody but its owner, where it is ours and open to others.

    What is made later is private by the process's umask (`PRIVATE`). Links are left alone, and so is what another user
    owns: a shared volume may be mounted with its own rules. One line in the log says what was done.
    """
    top = [data, *data.iterdir()] if data.is_dir() else []
    if not any(_open_to_others(path) for path in top):
        return
    closed = close_to_others(data)
    log.warning("%s was open to other users of this machine: %d files and folders are closed to them", data, closed)


def close_to_others(folder: Path) -> int:
    """Take the rights of group and others from a folder and all in it that is ours; how many had some."""
    paths = (Path(at, name) for at, folders, files in os.walk(folder, topdown=False) for name in (*files, *folders))
    return sum(_close(path) for path in paths) + _close(folder)  # itself last: what was interrupted is begun again


def _open_to_others(path: Path) -> bool:
    info = path.lstat()
    return info.st_uid == os.geteuid() and not stat.S_ISLNK(info.st_mode) and bool(info.st_mode & PRIVATE)


def _close(path: Path) -> int:
    with suppress(OSError):  # it is gone, or the file system has no modes
        if _open_to_others(path):
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~PRIVATE)
            return 1
    return 0


def number_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What tells a file or folder from others, whatever its path; None where it is not there."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
