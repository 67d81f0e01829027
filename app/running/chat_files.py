"""Files that were dropped into a conversation: read by the readers of knowledge bases, asked in it alone, gone with it.

What was read of them is an index as that of a knowledge base (app/running/chat_folders.py says where), which nothing
but its conversation opens: each call here says who reads, and the conversation must be theirs. A file is read in the
background; where the app ended meanwhile, it is read when the conversation is looked at again.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

from app.answering.find import Scope
from app.keeping.folders import check_upload
from app.keeping.index import chunker, write_file
from app.keeping.work import Work, cut
from app.running.chat_folders import all_of, discard, forget_index, held, holds, home_of, size_of
from app.running.chats import Chats, Reader
from app.running.users import User
from core.config import IngestConfig
from core.errors import AccessError, CatalogError, RagstoneError, ReadError
from core.files import copy_whole, make_folder
from core.glob import WILD
from core.types import FileEntry, FileError
from ingest.workers import read_apart
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index

if TYPE_CHECKING:
    from app.running.bases import Bases

log = logging.getLogger(__name__)

MOST = 50  # files of a conversation
LONGEST = 2_000_000  # characters of one: embedding them takes a core for minutes
THREAD = "chat file"  # the name of one that reads
_OPEN = 32  # indexes that stay open
_AT_ONCE = 2  # files that are read, of all conversations


@dataclass(frozen=True, slots=True)
class Attached:
    """A file of a conversation: how many passages were read of it, or the error that says why none could be."""

    name: str
    state: Literal["reading", "read", "failed"]
    passages: int = 0
    error: FileError | None = None
    notes: tuple[str, ...] = ()


class ChatFiles:
    """The files of all conversations of a data folder. Safe to use from many threads."""

    def __init__(self, bases: "Bases", chats: Chats) -> None:
        self._bases, self._chats = bases, chats
        self._data = bases.data
        self._open: OrderedDict[str, Index] = OrderedDict()
        self._reading: set[tuple[str, str]] = set()
        self._failed: dict[tuple[str, str], FileError] = {}  # what could not be noted in an index
        self._writing: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._mutex, self._taking = threading.Lock(), threading.Lock()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def room(self, user: User) -> int:
        """How many bytes the files may take that somebody drops into their conversations; 0: they may drop none."""
        cfg = self._bases.cfg.app
        return cfg.chat_files_mb * 2**20 if user.may(cfg.chat_files_role) else 0

    def check(self, user: User) -> None:
        """Raise `AccessError` where somebody may not."""
        if not self.room(user):
            raise AccessError("you may not drop files into chats", "ask an admin (app.chat_files_role, chat_files_mb)")

    def attach(self, reader: Reader, chat_id: str, received: Sequence[Path]) -> list[RagstoneError]:
        """Take files over into a conversation, and begin to read them; why those were refused that were.

        One of a name that is there takes its place. The files `received` go in any case. Raises `AccessError` where the
        conversation is none of the reader's.
        """
        refused: list[RagstoneError] = []
        try:
            self._chats.get(reader, chat_id)
            for file in received:
                try:
                    name = self._taken(reader, chat_id, file)
                    self._chats.name(reader, chat_id, name)
                    self._begin(chat_id, name)
                except RagstoneError as error:
                    refused.append(error)
        finally:
            for file in received:
                file.unlink(missing_ok=True)
        return refused

    def _taken(self, reader: Reader, chat_id: str, file: Path) -> str:
        """Copy a file into its conversation; its name. Raises `ReadError`, `CatalogError`."""
        cfg, home = self._bases.cfg, home_of(self._data, chat_id)
        name = check_upload(file.name, cfg.ingest)
        with self._taking:  # one after another, so that all that is there counts
            there = held(home)
            if name not in there and len(there) >= MOST:
                raise ReadError(f"{name!r} is one file more than {MOST} in a chat", "make a knowledge base of them")
            try:
                size = file.stat().st_size
                before = there[name].stat().st_size if name in there else 0
                if size_of(self._data, self._chats.ids(reader.owner)) - before + size > cfg.app.chat_files_mb * 2**20:
                    raise ReadError(
                        f"{name!r} does not fit beside the files of your chats: they may take {cfg.app.chat_files_mb} "
                        "MiB together",
                        "remove files or chats that you need no more; app.chat_files_mb sets how much there may be",
                    )
                make_folder(home / "files")
                copy_whole(file, home / "files" / name)
            except OSError as error:
                raise CatalogError(f"{name!r} could not be stored: {error.strerror}", "free some space") from error
        return name

    def files(self, reader: Reader, chat_id: str) -> list[Attached]:
        """The files of a conversation, in the order in which they came, behind them what could not be read.

        Raises `AccessError` where it is none of the reader's.
        """
        self._chats.get(reader, chat_id)
        home = home_of(self._data, chat_id)
        if not home.is_dir():
            return []
        there, shown = held(home), []
        index = self._index(chat_id)
        cards = {card.path: card for card in index.catalog.cards()} if index else {}
        failures = {error.path: error for error in index.catalog.failures()} if index else {}
        for name in there:
            card, error = cards.get(name), self._failed.get((chat_id, name))
            if self._is_read(chat_id, name):
                shown.append(Attached(name, "reading"))
            elif error or name in failures:
                shown.append(_failed(name, error or failures[name]))
            elif card:
                shown.append(Attached(name, "read", card.chunks, notes=card.notes))
            else:  # the app ended while it was read, or its index is lost
                self._begin(chat_id, name)
                shown.append(Attached(name, "reading"))
        return shown + [_failed(name, error) for name, error in failures.items() if name not in there]

    def holds(self, chat_id: str) -> bool:
        """Whether a conversation has files, those that are still being read included."""
        return holds(self._data, chat_id)

    def busy(self, chat_id: str) -> int:
        """How many files of a conversation are being read."""
        with self._mutex:
            return sum(chat == chat_id for chat, _ in self._reading)

    def scope(self, reader: Reader, chat_id: str) -> Scope | None:
        """What a question in a conversation is searched in besides knowledge bases; None where it has no files.

        Raises `AccessError` where it is none of the reader's, `CatalogError` where its index cannot be opened.
        """
        self._chats.get(reader, chat_id)
        index = self._index(chat_id)
        paths = index.catalog.paths() if index else []
        if index is None or not paths:
            return None
        alone = len(paths) == 1 and not WILD.search(paths[0])
        return index, Filter(paths=(paths[0],)) if alone else None  # so that "this file" is known to be it

    def remove(self, reader: Reader, chat_id: str, name: str) -> None:
        """Remove a file from a conversation, with all that was read of it.

        Raises `AccessError` where it is none of the reader's, `CatalogError` where a search that takes long keeps the
        old state: then it answers nothing any more, and its text goes with the next removal.
        """
        self._chats.get(reader, chat_id)
        home = home_of(self._data, chat_id)
        if name not in {one.name for one in self.files(reader, chat_id)}:
            return
        with self._lock(chat_id):
            self._failed.pop((chat_id, name), None)
            (home / "files" / name).unlink(missing_ok=True)
            index = self._index(chat_id)
            if index is None or set(index.catalog.paths()) <= {name}:
                self._drop(chat_id)
                discard(self._data, chat_id)
                make_folder(home)
                return
            with index.writing() as catalog, catalog.transaction() as write:
                for document in catalog.documents():
                    if document.path == name:
                        write.remove(document.id)
                for folder in catalog.folders():
                    write.keep_failures(catalog.folder_id(folder), set(catalog.known_failures(folder)) - {name})
            with index.catalog.alone():
                try:
                    index.catalog.vacuum()
                finally:
                    index.store.rebuild()

    def _is_read(self, chat_id: str, name: str) -> bool:
        with self._mutex:
            return (chat_id, name) in self._reading

    def _begin(self, chat_id: str, name: str) -> None:
        with self._mutex:
            if (chat_id, name) in self._reading:  # which sees that it was replaced
                return
            self._reading.add((chat_id, name))
            self._failed.pop((chat_id, name), None)
        threading.Thread(target=self._read, args=(chat_id, name), daemon=True, name=THREAD).start()

    def _read(self, chat_id: str, name: str) -> None:
        try:
            with self._turns:
                while not self._indexed(chat_id, name):
                    pass
        except RagstoneError as error:
            self._failed[chat_id, name] = FileError(name, error.message, error.hint)
        except Exception:  # a thread has nobody above it who would tell
            log.exception("a file of a chat could not be read")
            self._failed[chat_id, name] = FileError(name, "it could not be read", "the app's log says why")
        finally:
            if chat_id not in self._chats.ids():  # it was deleted meanwhile
                self._drop(chat_id)
                discard(self._data, chat_id)
            with self._mutex:
                self._reading.discard((chat_id, name))

    def _indexed(self, chat_id: str, name: str) -> bool:
        """Read a file into the index of its conversation; false where another took its place meanwhile."""
        cfg, file = self._bases.cfg.ingest, home_of(self._data, chat_id) / "files" / name
        entry = _entry(file)
        if entry is None:
            return True
        with self._lock(chat_id):
            index = self._made(chat_id)
        work = _work(file, entry, cfg, index.embedder)
        with self._lock(chat_id):
            now = _entry(file)
            if now is None:
                return True
            if (now.size, now.mtime_ns, now.ctime_ns) != (entry.size, entry.mtime_ns, entry.ctime_ns):
                return False
            write_file(index, str(file.parent), entry, work, cfg)
            if isinstance(work, FileError):  # it takes no room
                file.unlink(missing_ok=True)
        return True

    def _lock(self, chat_id: str) -> threading.Lock:
        """Held by the one who writes the index of a conversation."""
        with self._mutex:
            return self._writing.setdefault(chat_id, threading.Lock())

    def _index(self, chat_id: str) -> Index | None:
        """The open index of a conversation; None where it has none, or one that must be made anew of the files."""
        if not (home_of(self._data, chat_id) / "CURRENT").is_file():
            self._drop(chat_id)
            return None
        with self._mutex:
            index = self._open.get(chat_id)
            if index is None or index.superseded or index.catalog.gone:
                try:
                    index = self._open[chat_id] = Index.open(all_of(self._data), chat_id, self._bases.embedder)
                except CatalogError as error:  # damaged, or of an embedder that is gone; its files are all that counts
                    log.warning("%s: the files of this chat are read anew", error.message)
                    self._open.pop(chat_id, None)
                    forget_index(home_of(self._data, chat_id))
                    return None
            self._open.move_to_end(chat_id)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
            return index

    def _made(self, chat_id: str) -> Index:
        """The index of a conversation, ready to be written; one of another embedder or chunker is made anew."""
        embedder, how = self._bases.embedder, chunker(self._bases.cfg.ingest)
        try:
            Index.open_or_create(all_of(self._data), chat_id, embedder, how).close()
        except CatalogError as error:
            log.info("%s: the files of this chat are read anew", error.message)
            self._drop(chat_id)
            forget_index(home_of(self._data, chat_id))
            Index.open_or_create(all_of(self._data), chat_id, embedder, how).close()
        index = self._index(chat_id)
        if index is None:
            raise CatalogError("the chat of this file is gone", "begin a new one")
        return index

    def _drop(self, chat_id: str) -> None:
        with self._mutex:
            index = self._open.pop(chat_id, None)
        if index:
            index.close()


def _failed(name: str, error: FileError) -> Attached:
    return Attached(name, "failed", error=error)


def _entry(file: Path) -> FileEntry | None:
    """A file as it is; None where it is gone."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return FileEntry(file.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, time.time_ns())


def _work(file: Path, entry: FileEntry, cfg: IngestConfig, embedder: Embedder) -> Work | FileError:
    """A file that was read and cut, or why that cannot be done."""
    try:
        reading = read_apart(file, cfg)
        length = len(reading.document.text)
        if length > LONGEST:
            raise ReadError(
                f"it has {length} characters, and {LONGEST} are the most in a chat", "add it to a knowledge base"
            )
        return cut(entry, reading, cfg, embedder)
    except ReadError as error:
        return FileError(entry.path, error.message, error.hint, error.transient)
