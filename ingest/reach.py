"""Where a file really lies that is reached by a path: who may write in a folder decides where its links lead.

Paths are compared as the disk has them, all links followed: when a folder is scanned, and again of what was opened.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from core.config import IngestConfig
from core.errors import ReadError
from core.sources import mirrored

AWAY = ("a link to where nothing may be read from here", "put the file itself there, or have its folder followed")
_OPENED = "/proc/self/fd"  # of Linux: what was opened, by number


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be read by way of a folder; all are real paths.

    `root` is the folder, `apart` the data folder, of which nothing is read but what lies in `root` with it. `links`:
    whether links may lead out of the folder; where it is one that people other than admins may name (`app.folders`),
    only to another such, `shared`; else anywhere.
    """

    root: str
    apart: str = ""
    shared: tuple[str, ...] = ()
    links: bool = False

    @classmethod
    def of(cls, folder: Path, cfg: IngestConfig, apart: Path | None) -> "Reach":
        """That of a folder by the configuration."""
        root = os.path.realpath(folder)
        shared = tuple(os.path.realpath(os.path.expanduser(one)) for one in cfg.shared if not mirrored(one))
        among = shared if any(lies_in(root, one) for one in shared) else ()
        return cls(root, os.path.realpath(apart) if apart else "", among, cfg.follow_symlinks)

    def holds(self, real: str) -> bool:
        """Whether what lies at a real path may be read."""
        away = bool(self.apart) and lies_in(real, self.apart)
        if lies_in(real, self.root):
            return not away or lies_in(self.root, self.apart)
        return self.links and not away and (not self.shared or any(lies_in(real, one) for one in self.shared))

    def check(self, handle: int, path: Path) -> None:
        """Raise `ReadError` where a file that was opened by a path lies where nothing may be read."""
        opened = f"{_OPENED}/{handle}"
        real = os.readlink(opened) if os.path.islink(opened) else os.path.realpath(path)
        if not self.holds(real) or not os.path.samestat(os.fstat(handle), os.stat(real)):
            raise ReadError(*AWAY)


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies within it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
