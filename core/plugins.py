"""Code of others by its name in config.toml: plug-ins of installed packages, classes of LangChain and LlamaIndex.

`plugin:NAME` is an entry point of an installed package, `langchain:package.module:Class` and
`llama_index:package.module:Class` a class of one. Only settings are read so, never a document or a request.
"""

import importlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from core.errors import ConfigError, ModelError, RagstoneError

Kind = Literal["readers", "embedders", "rerankers", "chunkers", "stores", "methods"]
KINDS: tuple[Kind, ...] = ("readers", "embedders", "rerankers", "chunkers", "stores", "methods")
_NAMED = re.compile(r"(plugin|langchain|llama_index):(.+)", re.DOTALL)
_MAKING = threading.RLock()
_CLASS = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Installed:
    """A plug-in as its package states it."""

    kind: Kind
    name: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"plug-in {self.name!r} of {self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class Plugged:
    """What a plug-in or a class made, what errors call it, and the secrets that they must not say."""

    what: Any
    name: str
    secrets: tuple[str, ...] = ()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever it raises is a `ModelError` that names it. Another's code may raise anything."""
        try:
            yield
        except RagstoneError:
            raise
        except Exception as error:
            raise self.failed(error) from error

    def failed(self, error: Exception) -> ModelError:
        """What it raised, in one line."""
        hint = "see what its package says about it; other settings are not affected"
        return ModelError(f"{self.name} failed: {_words(error, self.secrets)}", hint, retryable=True)


def is_named(setting: str) -> bool:
    """Whether a setting names code of others, and no model."""
    return _NAMED.fullmatch(setting) is not None


def scheme_of(setting: str) -> str:
    """What stands before the first colon: `plugin`, `langchain` or `llama_index`."""
    return setting.partition(":")[0]


@cache
def _entries() -> tuple[tuple[Installed, EntryPoint], ...]:
    found, every = [], entry_points()
    for kind in KINDS:
        for entry in every.select(group=f"ragstone.{kind}"):
            package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
            found.append((Installed(kind, _called(kind, entry.name), package, version), entry))
    return tuple(sorted(found, key=lambda row: (KINDS.index(row[0].kind), row[0].name, row[0].package)))


def _called(kind: Kind, name: str) -> str:
    """A plug-in's name as it is used: a reader's is a suffix, which has no dot and no capitals here."""
    return name.removeprefix(".").lower() if kind == "readers" else name


def installed(kind: Kind | None = None) -> list[Installed]:
    """The plug-ins of all installed packages, or of a kind; nothing of theirs is imported."""
    return [each for each, _ in _entries() if kind in (None, each.kind)]


def found(kind: Kind, name: str) -> Installed | None:
    """A plug-in by its name; None where there is none. Raises `ConfigError` where several packages have one."""
    name = _called(kind, name)
    same = [each for each in installed(kind) if each.name == name]
    if len(same) > 1:
        packages = ", ".join(each.package for each in same)
        raise ConfigError(f"several packages have a plug-in {name!r} of ragstone.{kind}: {packages}", "uninstall one")
    return same[0] if same else None


def problem(plugin: Installed) -> str:
    """Why a plug-in cannot be imported; "" where it can. What it needs to be made is not known here."""
    try:
        found(plugin.kind, plugin.name)
        next(entry for each, entry in _entries() if each == plugin).load()
    except ConfigError as error:
        return error.message
    except Exception as error:  # as in `make`
        return _words(error, ())
    return ""


def make(kind: Kind | Literal["chat"], name: str, settings: Mapping[str, Any], has: str = "") -> Plugged:
    """What a setting names, made once with its settings; `has` is a method that it must have.

    Without `has` it is not made yet: `what` is called with what else it needs. A setting `{ env = "NAME" }` is the
    value of an environment variable. Raises `ConfigError` that says what is wrong with which package.
    """
    with _MAKING:
        return _made(kind, name, json.dumps(settings, sort_keys=True, default=str), has)


@lru_cache(maxsize=32)
def _made(kind: Kind | Literal["chat"], name: str, settings: str, has: str) -> Plugged:
    named = _NAMED.fullmatch(name)
    if named is None:
        raise ConfigError(f"{name!r} names no plug-in", 'e.g. "plugin:NAME" or "langchain:package.module:Class"')
    secrets: list[str] = [json.loads(settings)["url"]] if kind == "stores" else []  # it may hold a password
    values = {key: _value(value, secrets) for key, value in json.loads(settings).items()}
    called, target = (name, named[2]) if named[1] != "plugin" else (f"ragstone.{kind}: {named[2]!r}", "")
    try:
        if not target and kind != "chat":
            plugin = found(kind, named[2])
            if plugin is None:
                there = ", ".join(each.name for each in installed(kind)) or "none"
                raise ConfigError(
                    f"{name!r} is not installed (there: {there})", "install its package, or correct the name"
                )
            called = str(plugin)
            factory = next(entry for each, entry in _entries() if each == plugin).load()
        else:
            factory = _class(target)
        what = factory(**values) if has else partial(factory, **values)
    except RagstoneError:
        raise
    except Exception as error:  # another's code may raise anything, and an application must not end by it
        raise ConfigError(
            f"{called} cannot be used: {_words(error, tuple(secrets))}",
            "mend or uninstall its package, or correct its settings in config.toml",
        ) from error
    if has and not callable(getattr(what, has, None)):
        raise ConfigError(f"{called} has no method {has!r}", f"docs/extending.md says what {kind} offer")
    return Plugged(what, called, tuple(secrets))


def _class(target: str) -> Any:
    if not _CLASS.fullmatch(target):
        raise ConfigError(f"{target!r} names no class", 'it has the form "package.module:Class"')
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _value(value: Any, secrets: list[str]) -> Any:
    """A setting, or the environment variable that it refers to, which then is a secret."""
    if not isinstance(value, dict) or value.keys() != {"env"}:
        return value
    variable = str(value["env"])
    if variable not in os.environ:
        raise ConfigError(f"environment variable {variable} is not set", "config.toml takes a setting from it")
    secrets.append(os.environ[variable])
    return os.environ[variable]


def _words(error: Exception, secrets: tuple[str, ...]) -> str:
    said = " ".join(str(error).split())
    for secret in filter(None, secrets):
        said = said.replace(secret, "***")
    return f"{type(error).__name__}: {said[:300]}".rstrip(": ")
