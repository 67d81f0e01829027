"""Errors that a person is meant to read.

    RagstoneError            message: what failed, on which value; hint: what to do about it
    ├── ConfigError          config.toml, an environment variable or a flag is wrong
    ├── ReadError            one file could not be read; `index` turns it into a `FileError` row
    ├── CatalogError         the knowledge base: absent, locked, damaged, of another embedder, disk full
    │   ├── AwayError        the database that it lies in cannot be reached
    │   └── BusyError        somebody else writes it
    ├── WorkersError         the workers of a cluster that read and embed: away, or not fit to
    ├── ModelError           a model or its server: unreachable, slow, refused, out of context
    ├── PromptError          a prompt file is missing, malformed or lacks a variable
    ├── AccessError          somebody may not do this, or did not say who they are
    ├── ProviderError        who keeps accounts elsewhere, a provider or a directory, is away or says what cannot be
    ├── EvalError            an evaluation folder is not in the expected form
    └── DatasetError         a training set is missing, malformed or unfit for the model

Only entry points (CLI, HTTP, UI) catch `RagstoneError`; wrong arguments of a function are `ValueError`.
"""

import re

_LOGIN = re.compile(r"(?<=://)[^\s/?#]*@")


def without_login(text: str) -> str:
    """A text without the names and passwords in its addresses.

    >>> without_login("no server answers at http://ann:secret@10.0.0.1/v1")
    'no server answers at http://***@10.0.0.1/v1'
    """
    return _LOGIN.sub("***@", text)


class RagstoneError(Exception):
    """Something failed that the person at the keyboard can act on.

    `message` says what failed and on which value, `hint` what to do; of an address without name and password: whoever
    reads it need not be who set it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = without_login(message)
        self.hint = without_login(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class ConfigError(RagstoneError):
    """A setting is unknown, of the wrong type, or out of range."""


class ReadError(RagstoneError):
    """One file could not be turned into text. `transient` when the same file may be readable another time."""

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message, hint)
        self.transient = transient


class CatalogError(RagstoneError):
    """The knowledge base cannot be opened, written or trusted."""


class AwayError(CatalogError):
    """The database that knowledge bases lie in cannot be reached just now: nothing is known of what is in it."""


class BusyError(CatalogError):
    """Somebody else writes the knowledge base just now."""


class WorkersError(RagstoneError):
    """The workers of a cluster cannot be reached, went away, or read and embed otherwise than this machine."""


class ModelError(RagstoneError):
    """A model, its files or its server failed. `retryable` when trying again may help."""

    def __init__(self, message: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(message, hint)
        self.retryable = retryable


class PromptError(RagstoneError):
    """A prompt file is missing, malformed or lacks a variable."""


class AccessError(RagstoneError):
    """Whoever asks may not, or is not known."""


class ProviderError(RagstoneError):
    """A provider of accounts, or a directory, let nobody in. `away` where it does not answer, and may later."""

    def __init__(self, message: str, hint: str = "", *, away: bool = False) -> None:
        super().__init__(message, hint)
        self.away = away


class EvalError(RagstoneError):
    """An evaluation folder is missing a file or holds a malformed row."""


class DatasetError(RagstoneError):
    """A training set is missing, malformed or unfit for the model."""
