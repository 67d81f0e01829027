"""Recipe: carry the knowledge bases of an installation into a database, or back into files; what was stays as it is.

Each is carried beside, compared with what it came from, and answers only then. One that was cut short is gone on with.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from core.config import Config
from core.errors import CatalogError, ConfigError
from retrieval import dictionary
from retrieval.carry import Carried, carry
from retrieval.home import check_name
from retrieval.index import Index
from retrieval.plugged import embedder_of

FILES = "files"  # what a database is not
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """A knowledge base that was carried."""

    kb: str
    documents: int
    chunks: int


def direction(cfg: Config, to: str) -> tuple[str, str]:
    """(the database from which, the database into which), "" for files; `to` is a URL, "files", or what is configured.

    Raises `ConfigError` where both are the same.
    """
    source, target = cfg.app.database, "" if to == FILES else to or cfg.app.database
    if not to:
        source = ""
    if source == target:
        raise ConfigError(
            "there is nothing to migrate: what is configured lies there already",
            "--to postgresql://… carries files into a database; with app.database set, --to files carries them back",
        )
    return source, target


def migrate(cfg: Config, to: str, kbs: list[str], progress: Progress, *, replace: bool = False) -> list[Moved]:
    """Carry knowledge bases, by default all there are. Raises `CatalogError`, `ConfigError`; then what was carried
    before stays there.

    With `replace`, one that is there already gets what is carried as its next generation, and `rollback` leads back.
    """
    source, target = direction(cfg, to)
    data = Path(cfg.app.data)
    names = kbs or Index.names(data, source)
    if not replace and (taken := sorted({*names} & {*Index.names(data, target)})):
        raise CatalogError(
            f"there is a knowledge base {taken[0]!r} there already", "leave it out with --kb, or --replace it"
        )
    return [_carried(cfg, name, source, target, progress) for name in names]


def _carried(cfg: Config, name: str, source: str, target: str, progress: Progress) -> Moved:
    data = Path(cfg.app.data)
    home = data / check_name(name)
    if target and (home / dictionary.FILE).exists():
        raise ConfigError(f"{str(home / dictionary.FILE)!r} is not read with app.database yet", "take it away for now")
    with closing(Index.catalog_in(data, name, source)) as before, before.alone():
        after = Index.open_beside(home, embedder_of(cfg.retrieval), before.manifest(), target)
        with closing(after):
            with after.catalog.alone():
                carry(cast("Carried", before), cast("Carried", after.catalog), progress)
                after.store.save(whole=True)
                counts = after.counts()
            after.promote(cfg.app.keep_generations)
    return Moved(name, counts.documents, counts.chunks)
