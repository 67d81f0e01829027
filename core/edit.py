"""One setting, written into config.toml with its comments kept; a secret goes into a file of its own beside it."""

import re
import threading
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from core.config import SECRETS, Config, Settings, load, secrets_of
from core.errors import ConfigError
from core.files import write_whole
from core.places import HOME

_writing = threading.Lock()
_ORIGIN = re.compile("(?:the command line|flag): ")


def default(name: str) -> Any:
    """The default of "section.key", as config.toml lists it: a path is relative there."""
    section, key = name.split(".", 1)
    return getattr(getattr(Config(), section), key)


def parsed(settings: Settings, name: str, typed: str) -> Any:
    """The value of "section.key" that is typed, as on a command line. Raises `ConfigError` where it is not allowed."""
    section, key = name.split(".", 1)
    try:
        return getattr(getattr(load(settings.file, {name: typed}).config, section), key)
    except ConfigError as error:
        raise ConfigError(_ORIGIN.sub("", error.message), error.hint) from None


def write(settings: Settings, name: str, value: Any) -> Path:
    """Write a value that was checked; returns the file that has it. It takes effect with the next start.

    Raises `ConfigError` where the file cannot be read or written; then it is as it was.
    """
    section, key = name.split(".", 1)
    file = settings.file or HOME / "config.toml"
    if name in SECRETS:
        file = secrets_of(file)
    with _writing:
        try:
            mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
            document: Any = tomlkit.parse(file.read_text("utf-8")) if file.exists() else tomlkit.document()
            document.setdefault(section, tomlkit.table())[key] = value
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file.resolve(), tomlkit.dumps(document))  # a link to it stays one
            file.chmod(0o600 if name in SECRETS else mode)
        except OSError as error:
            raise ConfigError(
                f"{str(file)!r} cannot be written: {error.strerror}", "give the app's user the right to write it"
            ) from error
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not valid TOML: {error}", "mend it in an editor") from None
    return file
