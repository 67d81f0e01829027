"""Settings as they are used: with the promoted model, a data folder that is private, and prompts to read."""

from pathlib import Path

from app.answering.backend import with_promoted
from core.config import Settings
from core.files import keep_private
from prompts.versions import furnish


def prepared(settings: Settings) -> Settings:
    """The settings, ready for use. Raises `ConfigError` and `PromptError`."""
    settings = with_promoted(settings)
    keep_private(Path(settings.config.app.data))
    if settings.origins["prompts.library"] == "default":
        furnish(Path(settings.config.prompts.library))
    return settings
