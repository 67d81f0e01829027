"""Settings that a running app takes up at once: written into config.toml, and in effect from the next question on."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.running.bases import State
from core.config import SECRETS, LlmConfig, Settings, load
from core.edit import write
from core.errors import ConfigError

_taking = threading.Lock()
# Settings with addresses of servers, and the key that these are shown.
_SHOWN_TO = {
    "llm.base_url": "llm.api_key", "llm.base_urls": "llm.api_key", "llm.ab_base_url": "llm.api_key",
    "retrieval.rerank_url": "retrieval.rerank_key",
}  # fmt: skip
_PORTS = {"http": 80, "https": 443}


def take(state: State, values: Mapping[str, Any]) -> Path | None:
    """Write settings, "section.key" each, and use them from now on; returns the file that has them.

    Those that are as wanted already are left alone: None where all are. Raises `ConfigError`, before anything is
    written, for a value that is not allowed and for a setting that the environment or the command line decides.
    """
    with _taking:
        now = {name: _of(state.settings, name) for name in values}
        wanted = {name: value for name, value in values.items() if now[name] != value}
        for name in wanted:
            check_free(state.settings, name)
        load(state.settings.file, wanted)  # raises where one is not allowed
        file: Path | None = None
        for name in sorted(wanted, key=lambda name: name not in SECRETS):  # so that no key meets another address
            file = write(state.settings, name, wanted[name])
        if wanted:
            state.settings = _with(state.settings, load(state.settings.file), wanted)
            state.bases.use(state.settings.config)
        return file


def write_apart(settings: Settings, name: str, value: Any) -> tuple[Path, str]:
    """Write a setting; returns the file that has it, and the setting of a key that was emptied with it, "" for none.

    A stored key is for the servers that it was given for: where an address leads to another one, it is emptied first,
    and asked for anew. Raises `ConfigError` where the key is none that can be emptied here; then nothing is written.
    """
    with _taking:
        key = key_apart(settings, name, value)
        if key:
            try:
                check_free(settings, key)
            except ConfigError as error:
                raise ConfigError(
                    f"{key} would be shown to another server: {error.message}", "take it away there, and type it here"
                ) from None
            write(settings, key, "")
        return write(settings, name, value), key


def key_apart(settings: Settings, name: str, value: Any) -> str:
    """The setting of the key that a new value of an address would show to a server which had not got it; "" for none.

    A server is a scheme, a host and a port: over http a key is anybody's to read.
    """
    key = _SHOWN_TO.get(name, "")
    if not key:
        return ""
    fresh = load(settings.file)  # what counts from the next start on, but for the command line

    def then(known: str) -> Any:
        return _of(settings if settings.origins[known] == "flag" else fresh, known)

    if not then(key):
        return ""
    known = {_server(one) for other, its in _SHOWN_TO.items() if its == key for one in _listed(then(other))}
    return key if any(_server(one) not in known for one in _listed(value)) else ""


def _listed(addresses: Any) -> list[str]:
    return [one for one in ([addresses] if isinstance(addresses, str) else addresses) if one]


def _server(address: str) -> tuple[str, str, int | None]:
    """What of an address says which server it is; of one that is none, all of it."""
    try:
        parts = urlsplit(address.strip())
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return address, "", None


def answer_by_server(state: State, url: str, model: str, key: str) -> Path | None:
    """Have a server write the answers. Without a key that of the same address stays; one of another is not shown to it.

    Raises `ConfigError`.
    """
    llm = state.cfg.llm
    values: dict[str, Any] = {"llm.base_url": url, "llm.model": model, "llm.backend": _backend(llm, "openai")}
    if url != llm.base_url:
        values |= {"llm.base_urls": [], "llm.api_key": ""}
    return take(state, values | ({"llm.api_key": key} if key else {}))


def answer_by_folder(state: State, folder: str) -> Path | None:
    """Have the app's own vLLM serve a model folder. Raises `ConfigError`."""
    backend = _backend(state.cfg.llm, "vllm")
    return take(state, {"llm.vllm_model": folder, "llm.base_url": "", "llm.model": "", "llm.backend": backend})


def serve_by(state: State, settings: Settings) -> None:
    """Put questions to the app's own vLLM as it was started with these settings; no file says so."""
    with _taking:
        llm = settings.config.llm
        told = {"vllm_model": llm.vllm_model, "vllm_port": llm.vllm_port}
        config = state.settings.config
        config = config.model_copy(update={"llm": config.llm.model_copy(update=told)})
        origins = {**state.settings.origins, "llm.vllm_model": settings.origins["llm.vllm_model"]}
        state.settings = replace(state.settings, config=config, origins=origins)


def _backend(llm: LlmConfig, wanted: str) -> str:
    """What of `llm.backend` has the wanted one answer: "auto" asks a chat model of others first, where there is one."""
    return llm.backend if llm.backend == wanted else wanted if llm.chat else "auto"


def check_free(settings: Settings, name: str) -> None:
    """Raise `ConfigError` where what is written into the file would have no effect."""
    origin = settings.origins[name]
    if origin == "flag":
        raise ConfigError(f"{name} was set on the command line, which comes before the file", "start without it")
    if origin.startswith("RAGSTONE_"):
        raise ConfigError(
            f"{name} is set by the environment variable {origin}, which comes before the file",
            "remove the variable, and start the app anew",
        )


def _of(settings: Settings, name: str) -> Any:
    section, key = name.split(".", 1)
    return getattr(getattr(settings.config, section), key)


def _with(settings: Settings, fresh: Settings, names: Mapping[str, Any]) -> Settings:
    """Settings with some of them as they are now in the file; what else was changed there waits for the next start."""
    config, origins = settings.config, dict(settings.origins)
    for name in names:
        section, key = name.split(".", 1)
        part = getattr(config, section).model_copy(update={key: _of(fresh, name)})
        config = config.model_copy(update={section: part})
        origins[name] = fresh.origins[name]
    return replace(settings, config=config, origins=origins, file=settings.file or fresh.file)
