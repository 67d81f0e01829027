"""Knowledge bases in a PostgreSQL, as a `retrieval.store.Home`."""

from pathlib import Path

from retrieval.postgres import catalog, generations
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

    def opened(self, name: str) -> catalog.PgCatalog | None:
        """A knowledge base; None where there is none."""
        return catalog.opened(self.server, name)

    def made(self, name: str, manifest: Manifest) -> catalog.PgCatalog:
        """A knowledge base; made, empty, where there is none."""
        return catalog.made(self.server, name, manifest)

    def store(self, catalog: catalog.PgCatalog, folder: Path, exact_below: int) -> PgStore:
        """What it is searched by."""
        return PgStore(catalog, folder, exact_below)
