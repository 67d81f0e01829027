"""The knowledge bases of a running app: opened once, shared by every request, opened anew when one was swapped."""

import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from app.index import Progress, Report, check_upload, chunker, quiet, sync
from app.jobs import Jobs
from app.users import Users
from core.config import Config, Settings
from core.errors import CatalogError, RagstoneError
from llm.supervise import Supervisor
from retrieval.embed import Embedder
from retrieval.home import check_name, names
from retrieval.index import Index


class Bases:
    """All knowledge bases of a data folder, with one embedder between them. Safe to use from many threads."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.data = Path(cfg.app.data)
        self.embedder = Embedder(cfg.retrieval)
        self._open: dict[str, Index] = {}
        self._mutex = threading.Lock()

    def names(self) -> list[str]:
        """The knowledge bases there are."""
        return names(self.data)

    def get(self, name: str) -> Index:
        """An open knowledge base. Raises `CatalogError` where there is none of that name."""
        with self._mutex:
            index = self._open.get(name)
            if index is None or index.superseded:
                self._open[name] = index = Index.open(self.data, name, self.embedder)
            return index

    def warm_up(self, name: str) -> None:
        """Load the embedder and, where it exists, a knowledge base, so that the first question is quick."""
        self.embedder.embed_query("warm up")
        if name in self.names():
            self.get(name).refresh()

    def upload(self, name: str, files: Iterable[Path], progress: Progress = quiet) -> Report:
        """Copy files into a knowledge base's own folder and index them; an absent knowledge base is made.

        A file of the same name is replaced. Raises `CatalogError` for a name that cannot be a file's.
        """
        folder = self.data / check_name(name) / "files"
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            target = folder / check_upload(file.name)
            aside = target.with_name(f".{target.name}.writing")
            try:
                shutil.copyfile(file, aside)
                aside.replace(target)
            except OSError as error:
                aside.unlink(missing_ok=True)
                raise CatalogError(
                    f"{file.name!r} could not be stored in {str(folder)!r}: {error.strerror}", "free some space"
                ) from error
        if name not in self.names():
            Index.open_or_create(self.data, name, self.embedder, chunker(self.cfg.ingest)).close()
        index = self.get(name)
        index.check_writable(self.embedder, chunker(self.cfg.ingest))
        return sync(index, folder, self.cfg.ingest, progress)


class State:
    """What a running app knows: its knowledge bases, and whether the model server it started is up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bases = Bases(settings.config)
        self.jobs = Jobs()
        self.users = Users()
        self.ready = threading.Event()
        self.vllm: Supervisor | None = None
        self.vllm_status = ""
        self.failure: RagstoneError | None = None

    @property
    def cfg(self) -> Config:
        """The configuration."""
        return self.settings.config
