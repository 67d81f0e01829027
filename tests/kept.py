"""What tests make in seconds and minutes is kept from one session to the next, by a hash of all that it is made of."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
_PLACE = ROOT / ".pytest_cache" / "kept"
_FORMS = 10  # of one name: changed sources make others, and old ones go


def kept(name: str, made_of: Iterable[object], make: Callable[[Path], object], folder: Path) -> Path:
    """`folder` with what `make` writes into a folder, copied where it was made of the same before.

    `made_of` holds all that decides it: parameters, versions of packages, the sources of the code (`sources`).
    """
    home = _PLACE / name
    made = home / hashlib.sha256(repr(list(made_of)).encode()).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):
        if not made.is_dir():
            forms = sorted((each for each in home.iterdir() if each.is_dir()), key=lambda each: each.stat().st_mtime)
            for old in forms[: 1 - _FORMS]:
                shutil.rmtree(old)
            part = home / "part"
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(made)
        shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def sources(*places: Path) -> list[tuple[str, str]]:
    """The name and hash of each file, and of all files below each folder."""
    files = {file for place in places for file in ([place] if place.is_file() else place.rglob("*"))}
    return [
        (str(file), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(files)
        if file.is_file() and "__pycache__" not in file.parts
    ]
