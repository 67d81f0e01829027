"""The knowledge bases of a running app: opened once, shared by every request, opened anew when one was swapped."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from app.keeping.folders import asking, check_upload
from app.keeping.index import Progress, Report, chunker, quiet, sync
from app.running import accounts, audit
from app.running.chat_files import ChatFiles
from app.running.chats import Chats
from app.running.data_folder import DataFolder
from app.running.jobs import Jobs
from app.running.limits import Limits
from app.running.metrics import Metrics
from app.running.usage import Usage
from app.running.users import User, Users
from core.config import Config, Settings
from core.errors import CatalogError, RagstoneError, ReadError
from core.files import copy_whole, make_folder
from core.types import FileError
from llm.supervise import Supervisor
from retrieval.home import check_name
from retrieval.index import Index
from retrieval.plugged import embedder_of


class Bases:
    """All knowledge bases of a data folder, with one embedder between them. Safe to use from many threads."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.data = Path(cfg.app.data)
        self.folder = DataFolder(self.data)
        self.database = cfg.app.database
        self.embedder = embedder_of(cfg.retrieval)
        self._open: dict[str, tuple[Index, str]] = {}  # with the ids they had
        self._mutex = threading.Lock()

    def use(self, cfg: Config) -> None:
        """Go on with other settings; knowledge bases are opened anew where their embedder is another one."""
        with self._mutex:
            if cfg.retrieval != self.cfg.retrieval:
                self.embedder = embedder_of(cfg.retrieval)
                self._open = {}
            self.cfg = cfg

    def names(self) -> list[str]:
        """The knowledge bases there are."""
        return Index.names(self.data, self.database)

    def identity(self, name: str) -> str:
        """The id of a knowledge base (`home.identity`); "" where there is none of that name that could be opened.

        Raises `CatalogError` where the database cannot be reached: then nobody knows.
        """
        if self.database:
            return Index.identity_in(self.data, name, self.database)
        try:
            return Index.identity_in(self.data, name)
        except CatalogError:
            return ""

    def seen(self, user: User) -> dict[str, str]:
        """The knowledge bases that a user may see, each with its id; one that cannot be opened is none."""
        ids = {name: self.identity(name) for name in user.seen(self.names())}
        return {name: known for name, known in ids.items() if known}

    def get(self, name: str) -> Index:
        """An open knowledge base. Raises `CatalogError` where there is none of that name.

        Which others there are is not told: whoever asks may be allowed a name that nothing bears, and no other.
        """
        with self._mutex:
            index, known = self._open.get(name, (None, ""))
            now = self.identity(name)  # before it is opened: one that is swapped meanwhile is opened once more
            if index is None or index.superseded or known != now:
                if not now and check_name(name) not in self.names():
                    self.check_there()
                    raise CatalogError(
                        f"there is no knowledge base {name!r}", f"make it with `ragstone index FOLDER --kb {name}`"
                    )
                index = Index.open(self.data, name, self.embedder, self.database)
                self._open[name] = index, now
            return index

    def chunks(self) -> dict[str, int]:
        """How many passages each knowledge base has that is open."""
        with self._mutex:
            return {name: index.counts().chunks for name, (index, _) in self._open.items() if not index.superseded}

    def warm_up(self, name: str) -> None:
        """Load the embedder and, where it exists, a knowledge base, so that the first question is quick."""
        self.embedder.embed_query("warm up")
        if name in self.names():
            self.get(name).store.follow()

    def make(self, name: str) -> Index:
        """The knowledge base of a name, ready to be written; an absent one is made.

        Raises `CatalogError` where it was made with another embedder or chunker than is configured, or is gone.
        """
        cut = chunker(self.cfg.ingest)
        self._check_not_gone(name)
        if name not in self.names():
            Index.open_or_create(self.data, name, self.embedder, cut, self.database).close()
        index = self.get(name)
        index.check_writable(self.embedder, cut)
        return index

    def _check_not_gone(self, name: str) -> None:
        """Raise `CatalogError` where a knowledge base that was open is not there: its disk may come back."""
        self.check_there()
        with self._mutex:
            gone = name in self._open and name not in self.names()
        if gone:
            raise CatalogError(
                f"knowledge base {name!r} is not there any more: its folder in {str(self.data)!r} is gone",
                "mount its disk again, or restore a backup; to begin anew, start the app again",
            )

    def check_there(self) -> None:
        """Raise `CatalogError` where the whole data folder went away, or an empty one lies in its place."""
        self.folder.check(*(self.data / name for name in list(self._open)), self.data / accounts.FILE)

    def update(self, name: str, progress: Progress = quiet) -> Report:
        """Bring all folders of a knowledge base up to date; one that is away is a row of `Report.failed`."""
        index = self.make(name)
        folders = [folder for folder in index.catalog.folders() if folder]
        report = Report(chunks=index.counts().chunks)
        for folder in folders:
            try:
                more = folder != folders[-1]
                report += sync(index, folder, self.cfg.ingest, progress, more=more, pages=asking(self.cfg))
            except ReadError as error:
                report.failed.append(FileError(folder, error.message, error.hint, folder=folder))
        return report

    def store(self, name: str, files: Iterable[Path]) -> list[str]:
        """Copy files into a knowledge base's own folder, where one of the same name is replaced; returns their names.

        Raises `ReadError` for a name that cannot be a file's or that there is no reader for, before anything is copied;
        `CatalogError` where the disk refuses.
        """
        self._check_not_gone(name)
        folder = self.uploads(name)
        files = list(files)
        stored = [check_upload(file.name, self.cfg.ingest) for file in files]
        for file, plain in zip(files, stored, strict=True):
            try:
                make_folder(folder)
                copy_whole(file, folder / plain)
            except OSError as error:
                raise CatalogError(
                    f"{plain!r} could not be stored in {str(folder)!r}: {error.strerror}", "free some space"
                ) from error
        return stored

    def uploads(self, name: str) -> Path:
        """Where the uploaded files of a knowledge base are."""
        return self.data.resolve() / check_name(name) / "files"

    def upload(self, name: str, files: Iterable[Path], progress: Progress = quiet) -> Report:
        """Store files in a knowledge base and index them; an absent knowledge base is made."""
        self.store(name, files)
        return sync(self.make(name), self.uploads(name), self.cfg.ingest, progress)


class State:
    """What a running app knows: its knowledge bases, and whether the model server it started is up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bases = Bases(settings.config)
        audit.begin(self.bases.data)
        self.jobs = Jobs()
        self.chats = Chats(self.bases.data)
        self.files = ChatFiles(self.bases, self.chats)
        cfg = settings.config.app
        self.users = Users(cfg, settings.config.oidc, settings.config.ldap)
        self.usage = Usage(Path(cfg.data))
        self.metrics = Metrics()
        self.limits = Limits(cfg.answers_per_minute, cfg.answers_at_once, self.metrics)
        self.ready = threading.Event()
        self.vllm: Supervisor | None = None
        self.own_port = settings.config.llm.vllm_port  # as configured: another model is served at another one
        self.vllm_status = ""  # how far its start is, or why there is none
        self.switching = ""  # how far the start of another model is, which takes over then
        self.fell_back = ""  # why another model answers than the promoted one
        self.closing = threading.Event()  # the app ends
        self.failure: RagstoneError | None = None
        self.start_anew: Callable[[], None] | None = None  # ends this process for a new one of it
        self.watching = ""  # why the folders are not followed at the moment

    @property
    def cfg(self) -> Config:
        """The configuration."""
        return self.settings.config
