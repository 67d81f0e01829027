"""Recipe: make a model the one that answers, once it is known to be served as it was trained."""

from pathlib import Path

from app.training.parity import check_unchanged
from core.errors import ConfigError
from llm import registry


def promote_model(data: Path, name: str, *, force: bool) -> str:
    """Make a model the one that answers; returns the one before. Raises as `registry.promote` does, and for adapters.

    Unless forced, also where its files are no longer those that parity was shown for.
    """
    folder = registry.home(data, name)
    if (folder / "adapter_config.json").is_file():
        raise ConfigError(
            f"{name!r} is an adapter, and what answers is a whole model",
            f"`ragstone models merge {name}`, then promote {name}-merged",
        )
    before = registry.promoted(data)
    if not force:
        check_unchanged(folder)
    registry.promote(data, name, force=force)
    return before
