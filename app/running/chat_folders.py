"""Where the files of conversations lie: a folder for each conversation, which goes with it.

<data>/.chat-files/<id of the conversation>/files/          as they were dropped there
<data>/.chat-files/<id of the conversation>/CURRENT g0001/  their index, of the form that a knowledge base has

No knowledge base can have a name that begins so, and none of these indexes is listed among them. A conversation that
ever held files keeps its folder, so that it is known what its answers may rest on.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import CatalogError

_FOLDER, _GONE = ".chat-files", ".gone"
ID = r"[0-9a-f]{32}"  # of a conversation


def all_of(data: Path) -> Path:
    """The folder that holds those of all conversations."""
    return data.resolve() / _FOLDER


def is_chat(name: str) -> bool:
    """Whether a name has the form of a conversation's id, by which the index of its files is called."""
    return re.fullmatch(ID, name) is not None


def home_of(data: Path, chat_id: str) -> Path:
    """The folder of a conversation, whether it is there or not."""
    if not is_chat(chat_id):
        raise ValueError(f"{chat_id!r} is no conversation's id")
    return all_of(data) / chat_id


def ever_held(data: Path, chat_id: str) -> bool:
    """Whether a conversation holds files, or did before they were removed from it."""
    return is_chat(chat_id) and home_of(data, chat_id).is_dir()


def held(home: Path) -> dict[str, Path]:
    """The files of a conversation, by name, in the order in which they came."""
    folder = home / "files"
    files = [file for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []
    return {file.name: file for _, _, file in sorted((file.stat().st_mtime_ns, file.name, file) for file in files)}


def holds(data: Path, chat_id: str) -> bool:
    """Whether a conversation has files now, read or not."""
    return ever_held(data, chat_id) and bool(held(home_of(data, chat_id)))


def size_of(data: Path, chat_ids: Iterable[str]) -> int:
    """How many bytes the files of some conversations have together."""
    return sum(file.stat().st_size for chat in chat_ids for file in held(home_of(data, chat)).values())


def put_aside(data: Path, chat_ids: Iterable[str]) -> None:
    """Have the files of conversations be nobody's from now on; `clear` deletes them. Raises `CatalogError`."""
    with _told(data):
        for home in (home_of(data, chat) for chat in chat_ids):
            aside = home.with_suffix(_GONE)
            if home.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
                home.rename(aside)


def clear(data: Path) -> None:
    """Delete what was put aside, here or by an app that was killed meanwhile. Raises `CatalogError`."""
    with _told(data):
        for aside in all_of(data).glob(f"*{_GONE}"):
            shutil.rmtree(aside)


def discard(data: Path, chat_id: str) -> None:
    """Delete the files of a conversation and what was read of them. Raises `CatalogError`."""
    put_aside(data, [chat_id])
    clear(data)


@contextmanager
def _told(data: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:  # another thread was at it
        pass
    except OSError as error:
        raise CatalogError(
            f"the files of a conversation could not be deleted from {str(all_of(data))!r}: {error.strerror}",
            "check its permissions, then start the app again: it deletes what is left of them",
        ) from error


def forget_index(home: Path) -> None:
    """Delete what was read of the files of a conversation; they stay."""
    for path in [home / "CURRENT", *home.glob("g*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
