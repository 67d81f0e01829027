"""config.toml, environment and flags -> one frozen `Config`, each value with where it came from.

Precedence: flag > environment `RAGSTONE_<SECTION>__<KEY>` > file > default. `RAGSTONE_DATA` is the data folder.
Sections mirror the folders. Relative paths in the file are relative to that file, others to the working folder.
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

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from core.errors import ConfigError
from core.places import HOME

ENV_PREFIX = "RAGSTONE_"
log = logging.getLogger(__name__)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AppConfig(_Section):
    """Where things live and what the surfaces listen on."""

    data: str = "data"
    database: str = ""
    kb: str = "default"
    keep_generations: Annotated[int, Field(ge=0, le=100)] = 1
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 7860
    users: Literal["auto", "on"] = "auto"
    hosts: list[str] = []
    root_path: str = ""
    session_hours: Annotated[float, Field(gt=0.0, le=8760.0)] = 168.0
    answers_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 120
    answers_at_once: Annotated[int, Field(ge=0, le=10_000)] = 16
    max_upload_mb: Annotated[int, Field(ge=1)] = 100
    pending_uploads_mb: Annotated[int, Field(ge=1)] = 1000
    folders: list[str] = []
    log_level: Literal["debug", "info", "warning", "error"] = "warning"


class IngestConfig(_Section):
    """What is read from a folder and how it is cut into chunks."""

    include: list[str] = ["**/*"]
    exclude: list[str] = ["**/node_modules/**", "**/__pycache__/**", "**/~$*", "**/*.tmp"]
    hidden: bool = False
    follow_symlinks: bool = False
    max_file_mb: Annotated[int, Field(ge=1)] = 100
    unreadable: Literal["keep", "drop"] = "keep"
    rescan_minutes: Annotated[float, Field(gt=0.0, le=10080.0)] = 10.0
    encodings: list[str] = []
    ocr: Literal["auto", "off"] = "auto"
    ocr_pages: Annotated[int, Field(ge=1)] = 1000
    archive_files: Annotated[int, Field(ge=0)] = 1000
    archive_mb: Annotated[int, Field(ge=1)] = 500
    archive_depth: Annotated[int, Field(ge=0, le=10)] = 2
    read_seconds: Annotated[float, Field(gt=0.0, le=86400.0)] = 120.0
    read_mb: Annotated[int, Field(ge=256)] = 2048
    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    chunk_overlap: Annotated[int, Field(ge=0, le=4096)] = 20

    @field_validator("include", "exclude")
    @classmethod
    def _can_match(cls, globs: list[str], info: ValidationInfo) -> list[str]:
        for glob in globs:
            names = glob.split("/")
            if info.field_name == "exclude" and glob.endswith("/"):  # the folder itself
                names.pop()
            if "" in names or "." in names or ".." in names:
                raise ValueError(
                    f"{glob!r} matches nothing: a glob is compared with the path within the folder, such as it/vpn.md; "
                    'e.g. "it/**", "**/*.md"'
                )
        if info.field_name == "include" and not globs:
            raise ValueError('no file would be read; ["**/*"] reads all')
        return globs


class RetrievalConfig(_Section):
    """The embedder, and how passages are found, fused and packed."""

    embedder: str = "auto"
    revision: str = ""
    embed_url: str = ""
    query_prompt: str = ""
    passage_prompt: str = ""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    mode: Literal["dense", "lexical", "hybrid"] = "hybrid"
    k: Annotated[int, Field(ge=1, le=1000)] = 8
    candidates: Annotated[int, Field(ge=1, le=10000)] = 200
    exact_below: Annotated[int, Field(ge=0)] = 50_000
    fusion: Literal["convex", "rrf"] = "convex"
    rrf_k: Annotated[int, Field(ge=1, le=1000)] = 5
    dense_weight: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = "auto"
    variants: Annotated[int, Field(ge=0, le=10)] = 3
    variant_seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 6.0
    reranker: str = ""
    reranker_revision: str = ""
    rerank_url: str = ""
    rerank_key: str = ""
    rerank_top: Annotated[int, Field(ge=1, le=1000)] = 50
    diversity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    per_document: Annotated[int, Field(ge=0, le=1000)] = 0
    prefer_newest: bool = True
    neighbours: Annotated[int, Field(ge=0, le=10)] = 1
    section_tokens: Annotated[int, Field(ge=0, le=100_000)] = 0
    context_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 3000
    min_relevance: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = "auto"


class LlmConfig(_Section):
    """Who writes the answers, and how vLLM is started."""

    backend: Literal["auto", "openai", "vllm", "extractive"] = "auto"
    base_url: str = ""
    base_urls: list[str] = []
    model: str = ""
    api_key: str = ""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] = 0
    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 1024
    timeout_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0
    vllm_model: str = ""
    vllm_name: str = ""
    vllm_env: str = ".vllm"
    vllm_build: Literal["auto", "gpu", "cpu"] = "auto"
    vllm_host: str = "127.0.0.1"
    vllm_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    vllm_max_model_len: Annotated[int, Field(ge=0)] = 0
    vllm_memory: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    vllm_cpu_kv_gb: Annotated[int, Field(ge=1, le=1024)] = 4
    vllm_start_timeout_s: Annotated[float, Field(gt=0.0, le=7200.0)] = 600.0
    vllm_args: list[str] = []
    vllm_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    vllm_restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    vllm_silent_s: Annotated[float, Field(ge=0.0, le=86400.0)] = 180.0
    vllm_lora_rank: Annotated[int, Field(ge=0, le=512)] = 0
    adapters: str = ""
    adapter: str = ""
    ab_percent: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    ab_base_url: str = ""
    ab_model: str = ""
    compressor_env: str = ".compressor"


class PromptsConfig(_Section):
    """Which prompt templates speak."""

    library: str = "prompts/library"
    promoted: bool = True
    answer: str = "answer"
    answer_version: Annotated[int, Field(ge=0)] = 1
    rewrite: str = "rewrite"
    rewrite_version: Annotated[int, Field(ge=0)] = 1
    variants: str = "variants"
    variants_version: Annotated[int, Field(ge=0)] = 1
    judge: str = "judge"
    judge_version: Annotated[int, Field(ge=0)] = 1


class Config(_Section):
    """All sections; a function takes its own section, never the whole."""

    app: AppConfig = AppConfig()
    ingest: IngestConfig = IngestConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    llm: LlmConfig = LlmConfig()
    prompts: PromptsConfig = PromptsConfig()


_DEFAULTS = Config()
SECRETS = frozenset({"app.database", "llm.api_key", "retrieval.rerank_key"})
PATHS = frozenset({"app.data", "app.folders", "llm.vllm_env", "llm.adapters", "llm.compressor_env", "prompts.library"})


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
            rows.append((name, "***" if name in SECRETS and value else value, self.origins[name]))
        return rows


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


def default_path(name: str, file: Path | None) -> Any:
    """The default of a path: beside the file of settings, else in `HOME`; prompts are those of the app in any case."""
    section, key = name.split(".", 1)
    base = file.resolve().parent if file and name != "prompts.library" else HOME
    return _absolute(getattr(getattr(_DEFAULTS, section), key), base)


def _absolute(value: Any, base: Path) -> Any:
    """A path, or each of a list of them, relative to a folder; what is none stays for the check of types."""
    if isinstance(value, list):
        return [_absolute(one, base) for one in value]
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
    if get_origin(kind) is list:
        return _list(name, raw, origin)
    try:
        return TypeAdapter(kind).validate_python(raw, strict=False)
    except ValidationError:
        raise _bad_value(name, raw, origin) from None


def _list(name: str, raw: str, origin: str) -> list[Any]:
    """A list as TOML and JSON have it, or comma-separated."""
    if not raw.lstrip().startswith("["):
        return [item.strip() for item in raw.split(",") if item.strip()]
    try:
        return tomllib.loads(f"list = {raw}")["list"]
    except tomllib.TOMLDecodeError:
        raise _bad_value(name, raw, origin) from None


def _bad_value(name: str, value: Any, origin: str, why: str = "") -> ConfigError:
    shown = "***" if name in SECRETS else repr(value)
    hint = why or f"{name} takes {_allowed(_field_type(name))}"
    return ConfigError(f"{origin}: {name} = {shown} is not allowed", hint)


def _allowed(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is list:
        return 'a list of strings, e.g. ["a", "b"]'
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
