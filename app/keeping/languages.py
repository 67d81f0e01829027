"""What is told of languages that the embedder of a knowledge base cannot read."""

from app.messages.texts import Tongue, better_note, blind_note
from retrieval.embed import MULTILINGUAL
from retrieval.index import Index
from retrieval.plugged import embedder_of


def language_notes(index: Index, tongue: Tongue = "en") -> list[str]:
    """Which languages the embedder cannot read, and which models would do; empty when it reads all."""
    blind, embedder = index.catalog.languages(unreadable_only=True), index.embedder
    blind.pop("und", None)  # passages that say nothing in any language
    if not blind:
        return []
    default = embedder_of(embedder.cfg.model_copy(update={"embedder": "auto"}))
    if embedder.is_default and default.name != embedder.name:
        return [better_note(embedder.name, blind, default.name, index.name, tongue)]
    return [blind_note(embedder.name, blind, MULTILINGUAL, tongue)]
