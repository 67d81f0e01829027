"""With what a knowledge base was made, and whether that is what is asked for."""

import json
import logging
from contextlib import closing
from pathlib import Path

from core.errors import CatalogError
from retrieval.bundled import NAMES
from retrieval.catalog import Catalog as Files
from retrieval.embed import Embedder
from retrieval.fingerprint import FILE
from retrieval.reading import Manifest
from retrieval.store import Catalog

log = logging.getLogger(__name__)


def manifest(data: Path, embedder: Embedder, chunker: str) -> Manifest:
    """The manifest of what this embedder and this chunker will make; the data folder remembers hashes of weights."""
    embedder.hashes = data / FILE
    settings = embedder.cfg.model_dump(include={"revision", "query_prompt", "passage_prompt"})
    settings["embedder"] = embedder.chosen  # what the default is elsewhere does not matter to what was made here
    return Manifest(embedder.identity, embedder.name, json.dumps(settings, sort_keys=True), chunker)


def made_by(data: Path, catalog: Catalog, embedder: Embedder) -> bool:
    """Whether an embedder made the vectors of a catalog; where it says so as earlier versions did, it is corrected.

    Keys of vectors hold the identity too: a text that comes back later is embedded once more.
    """
    embedder.hashes = data / FILE
    made = catalog.manifest()
    if made.embedder == embedder.identity:
        return True
    if made.embedder_name != embedder.name or made.embedder != embedder.earlier_identity:
        return False
    try:
        catalog.set_meta("embedder", embedder.identity)
    except CatalogError as error:  # on a disk that cannot be written it answers as well
        log.info("%s", error)
    return True


def keeps_default(catalog: Catalog, embedder: Embedder) -> bool:
    """Whether a catalog was made with another default than this one is: nothing is embedded anew unasked."""
    if embedder.cfg.embedder != "auto":
        return False
    made = json.loads(catalog.manifest().embedder_settings).get("embedder")
    return made in NAMES and made != embedder.chosen


def plain(chunker: str) -> tuple[str, str]:
    """A chunker without its version: what an earlier one cut is read again by the next run, and answers meanwhile."""
    name, _, sizes = chunker.partition(" ")
    return name.rstrip("0123456789"), sizes


def begun(file: Path, wanted: Manifest) -> bool:
    """Whether a catalog is there that can be gone on with; its manifest was the last to be written."""
    try:
        with closing(Files(file)) as catalog:
            return file.is_file() and catalog.has_schema() and catalog.manifest() == wanted
    except CatalogError:  # ended before its tables were there
        return False
