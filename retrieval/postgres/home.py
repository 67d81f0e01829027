"""Knowledge bases in a PostgreSQL, as a `retrieval.store.Home` that keeps generations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import CatalogError
from retrieval.postgres import catalog, generations
from retrieval.postgres.lock import alone
from retrieval.postgres.search import PgStore
from retrieval.postgres.server import server
from retrieval.reading import Manifest


class PgHome:
    """The database of a URL. Raises `CatalogError` where its server cannot be reached."""

    def __init__(self, url: str) -> None:
        self.server = server(url)

    def names(self) -> list[str]:
        """The knowledge bases in it."""
        return generations.names(self.server)

    def identity(self, name: str) -> str:
        """The id of a knowledge base, which is never given twice; "" where there is none."""
        return generations.identity(self.server, name)

    def opened(self, name: str) -> catalog.PgCatalog | None:
        """A knowledge base; None where there is none."""
        return catalog.opened(self.server, name)

    def made(self, name: str, manifest: Manifest) -> catalog.PgCatalog:
        """A knowledge base; made, empty, where there is none."""
        return catalog.made(self.server, name, manifest)

    def store(self, catalog: catalog.PgCatalog, folder: Path, exact_below: int) -> PgStore:
        """What it is searched by."""
        return PgStore(catalog, folder, exact_below)

    def beside(self, name: str, manifest: Manifest) -> catalog.PgCatalog:
        """The generation that is built beside the one that answers; one begun with this manifest is gone on with."""
        return catalog.beside(self.server, name, manifest)

    def promote(self, catalog: catalog.PgCatalog, keep: int) -> None:
        """Let a generation answer from now on; of those before it, the last `keep` stay."""
        with catalog.alone():
            generations.promote(self.server, catalog.kb, catalog.base, keep)

    def rollback(self, name: str) -> tuple[str, str]:
        """Let the generation before the present one answer again; the present one is removed. Returns both names."""
        with self._alone(name) as kb:
            return generations.rollback(self.server, kb, name)

    def forget(self, name: str, keep: int) -> list[str]:
        """Remove the generations that do not answer but the `keep` before the one that does; returns their names."""
        with self._alone(name) as kb:
            gone = generations.let_go(self.server, kb, keep)
            generations.sweep(self.server)
        return gone

    @contextmanager
    def _alone(self, name: str) -> Iterator[int]:
        found = generations.answering(self.server, name)
        if found is None:
            raise CatalogError(
                f"there is no knowledge base {name!r} in the database of app.database "
                f"(there: {', '.join(self.names()) or 'none'})",
                f"make it with `ragstone index FOLDER --kb {name}`",
            )
        with alone(self.server, found[0], name):
            yield found[0]
