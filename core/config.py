"""config.toml, environment and flags -> one frozen `Config`, each value with where it came from.

Precedence: flag > environment `RAGSTONE_<SECTION>__<KEY>` > file of secrets beside the file > file > default.
`RAGSTONE_DATA` is the data folder. Relative paths in the file are relative to that file, others to the working folder.
"""

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from core.errors import ConfigError, without_login
from core.places import HOME
from core.sections import (
    AppConfig,
    Config,
    IngestConfig,
    LdapConfig,
    LlmConfig,
    OidcConfig,
    PromptsConfig,
    RetrievalConfig,
)
from core.sources import mirrored

__all__ = [
    "AppConfig", "Config", "IngestConfig", "LdapConfig", "LlmConfig", "OidcConfig", "PromptsConfig", "RetrievalConfig",
    "Settings", "default_path", "load",
]  # fmt: skip

ENV_PREFIX = "RAGSTONE_"
log = logging.getLogger(__name__)


_DEFAULTS = Config()
SECRETS = frozenset(
    {
        "app.database", "ingest.passwords", "ldap.bind_password", "llm.api_key", "oidc.client_secret",
        "retrieval.rerank_key",
    }
)  # fmt: skip
_SECRET = re.compile(r"key|token$|secret|password", re.IGNORECASE)
PATHS = frozenset({
    "app.data", "app.folders", "ldap.ca_file", "llm.vllm_env", "llm.adapters", "llm.compressor_env",
    "llm.converter_env", "prompts.library",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """A loaded configuration: `origins["section.key"]` names what set each value."""

    config: Config
    origins: Mapping[str, str]
    file: Path | None

    def rows(self) -> list[tuple[str, Any, str]]:
        """(name, value, origin) for every key, in file order; secrets are masked."""
        rows = []
        for section, key in _keys():
            name = f"{section}.{key}"
            value = getattr(getattr(self.config, section), key)
            rows.append((name, "***" if name in SECRETS and value else _masked(value), self.origins[name]))
        return rows


def _masked(value: Any) -> Any:
    """Settings of plug-ins without what their names say is a secret; addresses without name and password."""
    if isinstance(value, str):
        return without_login(value)
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "***" if isinstance(inner, str) and _SECRET.search(key) else _masked(inner) for key, inner in value.items()
    }


def load(
    file: Path | None = None, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the configuration.

    `file`: the given one must exist; without it `RAGSTONE_CONFIG`, `./config.toml`, then that of `HOME`.
    `flags`: {"section.key": value}. Raises `ConfigError` naming origin, key, value and what is allowed.
    """
    environ = os.environ if environ is None else environ
    file = _find(file, environ)
    values: dict[str, tuple[Any, str]] = {}
    if file is not None:
        base = file.resolve().parent
        for name, value in _read(file).items():
            values[name] = (_absolute(value, base) if name in PATHS else value, str(file))
    secrets = secrets_of(file or HOME / "config.toml")
    for name, value in _read(secrets).items() if secrets.is_file() else ():
        if name not in SECRETS:
            raise ConfigError(f"{secrets}: {name} is no secret", "write it into config.toml")
        values[name] = (value, str(secrets))
    for name, raw, variable in _from_environment(environ):
        values[name] = (_parse(name, raw, variable), variable)
    for name, value in (flags or {}).items():
        _check_name(name, "the command line")
        values[name] = (_parse(name, value, "the command line") if isinstance(value, str) else value, "flag")
    return _build(values, file)


def _build(values: Mapping[str, tuple[Any, str]], file: Path | None) -> Settings:
    tree: dict[str, dict[str, Any]] = {}
    for name, (value, _) in values.items():
        section, key = name.split(".", 1)
        tree.setdefault(section, {})[key] = value
    for name in PATHS - values.keys():
        section, key = name.split(".", 1)
        tree.setdefault(section, {})[key] = default_path(name, file)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:2])
        value, origin = values[name]
        raise _bad_value(name, value, origin, str(first.get("ctx", {}).get("error", ""))) from None
    origins = {f"{s}.{k}": values.get(f"{s}.{k}", (None, "default"))[1] for s, k in _keys()}
    return Settings(config, origins, file)


def secrets_of(file: Path) -> Path:
    """Where the secrets lie that were typed on the page: beside the file of settings, for its owner alone."""
    return file.with_name("ragstone-secrets.toml")


def default_path(name: str, file: Path | None) -> Any:
    """The default of a path: beside the file of settings, else in `HOME`; prompts are those of the app in any case."""
    section, key = name.split(".", 1)
    base = file.resolve().parent if file and name != "prompts.library" else HOME
    return _absolute(getattr(getattr(_DEFAULTS, section), key), base)


def _absolute(value: Any, base: Path) -> Any:
    """A path, or each of a list of them, relative to a folder; what is none stays for the check of types."""
    if isinstance(value, list):
        return [_absolute(one, base) for one in value]
    if isinstance(value, str) and mirrored(value):
        return value
    return str(base / Path(value).expanduser()) if isinstance(value, str) and value else value


def _find(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = file or (Path(environ["RAGSTONE_CONFIG"]) if environ.get("RAGSTONE_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"configuration file {str(named)!r} does not exist", "give the path of a config.toml")
        return named
    here = Path("config.toml")
    return next((f for f in (here, HOME / "config.toml") if f.is_file() and (f != here or _is_ours(f))), None)


def _is_ours(file: Path) -> bool:
    """Whether a file that nobody named has one of our sections: other programs have a config.toml too.

    It need not be valid: ours with a mistake in it is not passed over.
    """
    try:
        text = file.read_bytes().replace(b"\0", b"").decode("utf-8", "replace")  # even where saved as UTF-16
    except OSError:
        return True  # for `_read` to say
    ours = re.search(rf"^[^\w\n#]*({'|'.join(Config.model_fields)})\b[\s\"']*([].=]|$)", text, re.MULTILINE)
    if not ours:
        log.warning("%s is another program's: it has none of our sections", file.absolute())
    return ours is not None


def _read(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: the file is not in UTF-8", "save it as UTF-8 in your editor") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line \d+", str(error))
        hint = f"mend {line[0] if line else 'the end of the file'}; strings need quotes"
        raise ConfigError(f"{file}: not valid TOML: {error}", hint) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", "check the file's permissions") from None
    values = {}
    for section, body in data.items():
        if not isinstance(body, dict):
            sections = ", ".join(f"[{name}]" for name in Config.model_fields)
            raise ConfigError(
                f"{file}: {section} = {body!r} is outside any section", f"write it under one of {sections}"
            )
        if section not in Config.model_fields:
            raise _unknown(f"section [{section}]", section, list(Config.model_fields), str(file))
        for key, value in body.items():
            _check_name(f"{section}.{key}", str(file))
            values[f"{section}.{key}"] = value
    return values


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    found = []
    if environ.get("RAGSTONE_DATA"):
        found.append(("app.data", environ["RAGSTONE_DATA"], "RAGSTONE_DATA"))
    for variable, raw in environ.items():
        if variable.startswith(ENV_PREFIX) and "__" in variable:
            section, key = variable.removeprefix(ENV_PREFIX).lower().split("__", 1)
            _check_name(f"{section}.{key}", f"environment variable {variable}")
            found.append((f"{section}.{key}", raw, variable))
    return found


def _keys() -> list[tuple[str, str]]:
    return [(s, k) for s in Config.model_fields for k in _section(s).model_fields]


def _section(name: str) -> type[BaseModel]:
    return type(getattr(_DEFAULTS, name))


def _field_type(name: str) -> Any:
    section, key = name.split(".", 1)
    field = _section(section).model_fields[key]
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _check_name(name: str, origin: str) -> None:
    section, _, key = name.partition(".")
    if section not in Config.model_fields:
        raise _unknown(f"section [{section}]", section, list(Config.model_fields), origin)
    keys = list(_section(section).model_fields)
    if key not in keys:
        raise _unknown(f"key {section}.{key}", key, keys, origin)


def _unknown(what: str, given: str, allowed: list[str], origin: str) -> ConfigError:
    close = difflib.get_close_matches(given, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ConfigError(f"{origin}: unknown {what}", f"{hint}known: {', '.join(allowed)}")


def _parse(name: str, raw: str, origin: str) -> Any:
    """A string from the environment or a flag, as the key's type."""
    kind = _field_type(name)
    shape = get_origin(get_args(kind)[0] if get_origin(kind) is Annotated else kind)
    if shape in (list, dict):
        return _list(name, raw, origin) if shape is list else _toml(name, raw, origin)
    try:
        return TypeAdapter(kind).validate_python(raw, strict=False)
    except ValidationError:
        raise _bad_value(name, raw, origin) from None


def _list(name: str, raw: str, origin: str) -> list[Any]:
    """A list as TOML and JSON have it, or comma-separated."""
    if not raw.lstrip().startswith("["):
        return [item.strip() for item in raw.split(",") if item.strip()]
    return _toml(name, raw, origin)


def _toml(name: str, raw: str, origin: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        raise _bad_value(name, raw, origin) from None


def allowed(name: str) -> str:
    """What "section.key" takes, in words."""
    return _allowed(_field_type(name))


def _bad_value(name: str, value: Any, origin: str, why: str = "") -> ConfigError:
    shown = "***" if name in SECRETS else repr(value)
    hint = why or f"{name} takes {allowed(name)}"
    return ConfigError(f"{origin}: {name} = {shown} is not allowed", hint)


def _allowed(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is list:
        return 'a list of strings, e.g. ["a", "b"]'
    if get_origin(kind) is dict:
        return 'a table, e.g. { name = "value" }'
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_allowed(choice) for choice in get_args(kind))
    if get_origin(kind) is Annotated:
        base, *metadata = get_args(kind)
        bounds = []
        for constraint in metadata:
            for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
                if (bound := getattr(constraint, attribute, None)) is not None:
                    bounds.append(f"{sign} {bound}")
        return f"{_allowed(base)} {' and '.join(bounds)}".strip()
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}.get(kind, str(kind))
