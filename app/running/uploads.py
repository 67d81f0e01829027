"""Files that browsers sent and that nobody used yet: whose they are, how much they take, and when they go.

They lie in a folder of the app's own outside the data folder, each under a name that cannot be guessed. What was not
used for an hour goes; all of it goes with the app, and what an app left behind that was killed, with the next one.
"""

import atexit
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from core.errors import AccessError

KEPT_S = 3600.0  # seconds that an upload waits to be used
_SWEEP_S = 300.0
_LEAST = 4096  # bytes that a file takes, however small
_LEFT = 2**30  # bytes of the disk that uploads leave
_PREFIX, _LOCK = "ragstone-uploads-", ".lock"


class Uploads:
    """The uploads of one app. Safe to use from many threads; `room_each` is in bytes."""

    def __init__(self, room_each: int, folder: Path | None = None) -> None:
        self.room_each = room_each
        self.folder = _own_folder() if folder is None else folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._owners: dict[str, str] = {}  # path -> who sent it
        self._coming: Counter[str] = Counter()  # bytes that are kept free for what somebody is sending
        self._mutex = threading.Lock()

    def add(self, who: str, received: Iterable[str]) -> list[str]:
        """Take files over under names of their own; the new paths, in the same order.

        Raises `AccessError` for a file that somebody else's upload of the same content took along.
        """
        taken = []
        for path in received:
            place = self.folder / secrets.token_hex(16)
            place.mkdir(mode=0o700)
            try:
                new = Path(path).replace(place / Path(path).name)
            except FileNotFoundError:
                raise AccessError("the same file was sent twice at once", "choose it again") from None
            taken.append(str(new))
        with self._mutex:
            self._owners |= dict.fromkeys(taken, who)
        return taken

    def owns(self, who: str, path: str) -> bool:
        """Whether somebody sent the file of this path, and it is still there."""
        with self._mutex:
            return self._owners.get(path) == who and os.path.isfile(path)

    def reserve(
        self, who: str, wanted: int | None = None, each: int | None = None
    ) -> tuple[int, Literal["own", "disk"]]:
        """Keep room for what somebody is about to send; how many bytes, and whose room is the smaller.

        It is all that there is where nobody says how much is `wanted`; and none where that is more than there is.
        `each`: how much this person may have sent, where that is less than others may. Each must be released.
        """
        with self._mutex:
            own = [path for path, owner in self._owners.items() if owner == who]
            whole = self.room_each if each is None else min(each, self.room_each)
            left = max(whole - sum(map(_size, own)) - self._coming[who], 0)
            free = max(shutil.disk_usage(self.folder).free - _LEFT - self._coming.total(), 0)
            most = min(left, free)
            room = most if wanted is None else wanted if wanted <= most else 0
            self._coming[who] += room
        return room, "own" if left <= free else "disk"

    def release(self, who: str, room: int) -> None:
        """Give back the room that was reserved: what has come takes its own."""
        with self._mutex:
            self._coming[who] -= room
            self._coming += Counter()  # forgets those who send nothing

    def sweep(self, kept_s: float = KEPT_S) -> None:
        """Remove what was sent `kept_s` seconds ago and not used, and what remains of uploads that broke off."""
        with self._mutex:
            for path in [path for path in self._owners if not os.path.isfile(path)]:
                del self._owners[path]
        for entry in list(self.folder.iterdir()):
            if entry.name != _LOCK and _age(entry) > kept_s:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)

    def keep_swept(self) -> None:
        """Sweep now and then, as long as the app runs."""
        while True:
            time.sleep(_SWEEP_S)
            self.sweep()


def named_folder(named: str | None) -> Path | None:
    """The folder that somebody named for uploads; not that of this app before it started itself anew."""
    return Path(named) if named and not Path(named).name.startswith(_PREFIX) else None


def _own_folder() -> Path:
    """A new folder that goes when the app ends. Those of apps that were killed go now: nobody holds their locks."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if left.is_symlink() or left.stat().st_uid != os.getuid() or not (left / _LOCK).is_file():
            continue
        with (left / _LOCK).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_WRONLY, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held until this process ends, however it does
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _size(path: str) -> int:
    try:
        return max(os.stat(path).st_size, _LEAST)
    except OSError:  # used meanwhile
        return 0


def _age(entry: Path) -> float:
    """Seconds since an upload was received; a folder is as old as when its file came into it."""
    try:
        return time.time() - entry.stat().st_mtime
    except OSError:
        return 0.0
