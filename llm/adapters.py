"""LoRA adapters in a running vLLM: loaded, swapped and unloaded, one for each knowledge base that wants one.

vLLM opens whatever folder it is told to, so an adapter is named, lies in one allowed folder, and is examined first. It
keeps what it computed for a prompt under the adapter's name and folder, also when it has unloaded the weights: so the
name there holds their hash, and weights that were trained anew are another adapter.
Which one a knowledge base uses stands in its own folder; it is loaded with the first question that needs it, so that a
vLLM that was started again has it too. https://docs.vllm.ai/en/latest/features/lora/
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config import LlmConfig
from core.errors import ConfigError, ModelError
from core.files import write_whole
from llm import registry
from llm.endpoint import Endpoint
from llm.serve import is_hub_name, model_name, model_path
from llm.supervise import Status, tail

ASSIGNED = "adapter.json"
_NAME = re.compile(r"[\w-][\w.-]{0,63}")
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LONGEST = 1 << 20
_OF_WEIGHTS = "@"  # stands between an adapter's name and the hash of its weights, and in no name
_HASH = 12
_TIMEOUT_S = 60.0


# --- which one a knowledge base uses ---------------------------------------------------------------------------------


def assigned(home: Path) -> str:
    """The adapter of the knowledge base in this folder, "" where it has none. Raises `ConfigError` for a bad file."""
    file = home / ASSIGNED
    try:
        name = json.loads(file.read_text("utf-8"))["adapter"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{str(file)!r} names no adapter", "remove it, or assign an adapter anew") from None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{str(file)!r} names no adapter", "remove it, or assign an adapter anew")
    return name


def assign(home: Path, root: Path, name: str, cfg: LlmConfig) -> None:
    """Have a knowledge base answered with an adapter, with none for ""; from its next question on.

    Raises what `check` raises.
    """
    if name:
        check(root, name, cfg)
        write_whole(home / ASSIGNED, json.dumps({"adapter": name}) + "\n")
    else:
        (home / ASSIGNED).unlink(missing_ok=True)


# --- what may be loaded ----------------------------------------------------------------------------------------------


def check(root: Path, name: str, cfg: LlmConfig) -> Path:
    """The folder of an adapter that vLLM may be told to load: within `root`, LoRA, of the served base, not too large.

    Raises `ConfigError` for a name and a setting, `ModelError` for an adapter that does not fit.
    """
    if not cfg.vllm_lora_rank:
        raise ConfigError(
            "llm.vllm_lora_rank is 0, so vLLM loads no adapters", "set it to the highest rank of yours, e.g. 32"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name an adapter", f"give the name of a folder in {str(root)!r}, not a path")
    if name == model_name(cfg):
        raise ConfigError(f"{name!r} is the name that the base model is served by", "set llm.vllm_name to another")
    folder = (root / name).resolve()
    if not folder.is_relative_to(root.resolve()) or not folder.is_dir():
        raise ConfigError(f"there is no adapter {name!r} in {str(root)!r}", "`ragstone models` lists what there is")
    told = _read(folder / _CONFIG)
    _check_form(folder, told, cfg.vllm_lora_rank)
    _check_base(folder, told, cfg)
    return folder


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LONGEST:
            raise ValueError("too long")
        told = json.loads(file.read_text("utf-8"))
        if not isinstance(told, dict):
            raise ValueError("no JSON object")
        return told
    except FileNotFoundError:
        raise ModelError(
            f"{str(file.parent)!r} is no adapter: it has no {file.name}", "name one that peft saved"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error}", "is the adapter whole?") from None


def _check_form(folder: Path, told: dict[str, Any], most: int) -> None:
    """Raise `ModelError` for what vLLM does not serve as an adapter, and for a rank above what it has room for."""
    what = ""
    if told.get("peft_type") != "LORA":
        what = f"it is of kind {told.get('peft_type')!r}; vLLM loads LoRA only"
    elif told.get("use_dora"):
        what = "it is a DoRA adapter, which vLLM does not load"
    elif told.get("modules_to_save"):
        what = "it holds whole layers (modules_to_save), which vLLM does not load"
    elif told.get("bias", "none") != "none":
        what = "it has trained biases, which vLLM does not load"
    elif not (folder / _WEIGHTS).is_file():
        what = f"it has no {_WEIGHTS} (weights in a pickle are not opened)"
    if what:
        raise ModelError(
            f"adapter {folder.name!r} cannot be loaded: {what}", "`ragstone finetune` with --method lora, or merge it"
        )
    pattern = told.get("rank_pattern")
    ranks = [told.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ModelError(f"adapter {folder.name!r} states no rank", f"is its {_CONFIG} whole?")
    if (rank := max(rank for rank in ranks if isinstance(rank, int))) > most:
        raise ModelError(
            f"adapter {folder.name!r} has rank {rank}, above llm.vllm_lora_rank = {most}",
            f"set llm.vllm_lora_rank = {rank} and start again; more rank takes more memory",
        )


def _check_base(folder: Path, told: dict[str, Any], cfg: LlmConfig) -> None:
    """Raise `ModelError` unless the adapter was trained on the weights that are served, by hash where it tells one."""
    served = model_path(cfg)
    trained = str(told.get("base_model_name_or_path") or "")
    identity = ""
    if (folder / registry.RECORD).is_file():
        base = registry.read_record(folder).get("base")
        identity = str(base.get("identity", "")) if isinstance(base, dict) else ""
    if is_hub_name(cfg.vllm_model):
        fits = trained == cfg.vllm_model
    else:
        known = identity or (_identity(trained) if (Path(trained) / "config.json").is_file() else "")
        fits = (
            known in (_identity(served), _quantized_from(Path(served)))
            if known
            else Path(trained).name == Path(served).name
        )
    if not fits:
        raise ModelError(
            f"adapter {folder.name!r} belongs to another base: it was trained on {trained or 'an unnamed one'!r}"
            f"{f' ({identity[:12]})' if identity else ''}, and {served!r} is served",
            "serve its base as llm.vllm_model, or merge it: `ragstone quantize` does",
        )


def _quantized_from(served: Path) -> str:
    """The weights that quantized ones were made of: an adapter of those fits these, to what quantization lost."""
    if not (served / registry.RECORD).is_file():
        return "none"
    record = registry.read_record(served)
    source = record.get("source")
    return str(source.get("identity")) if record.get("kind") == "quantized" and isinstance(source, dict) else "none"


def _identity(folder: str) -> str:
    return _hashed(folder, _stamps(folder))


def _stamps(folder: str) -> tuple[tuple[str, int, int, int], ...]:
    told = [(file.name, file.stat()) for file in sorted(Path(folder).glob("*.*"))]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in told)


@lru_cache(maxsize=16)
def _hashed(folder: str, stamps: tuple[tuple[str, int, int, int], ...]) -> str:
    return registry.weights_hash(Path(folder))


@lru_cache(maxsize=64)
def _adapter_hash(folder: str, stamps: tuple[tuple[str, int, int, int], ...]) -> str:
    return registry.folder_hash(Path(folder), lambda name: name in (_CONFIG, _WEIGHTS))


# --- in a running vLLM -----------------------------------------------------------------------------------------------


def name_of(model: str) -> str:
    """What a person calls the adapter that a server names with the hash of its weights; other names are as they are."""
    return model.partition(_OF_WEIGHTS)[0]


def _served_name(folder: Path) -> str:
    return f"{folder.name}{_OF_WEIGHTS}{_adapter_hash(str(folder), _stamps(str(folder)))[:_HASH]}"


def loaded(url: str) -> dict[str, str]:
    """The adapters of the vLLM at an address by their names there, each with the folder it came from."""
    response = _ask("GET", f"{url}/models", None)
    try:
        return {str(row["id"]): str(row.get("root")) for row in response.json()["data"] if row.get("parent")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{url} answered, but not with a list of models", "is it a vLLM?") from None


def load(urls: Sequence[str], root: Path, name: str, cfg: LlmConfig) -> str:
    """Load an adapter into every replica that does not have it; its name there, which holds the hash of its weights.

    Other weights that it was loaded with are unloaded. Raises what `check` raises before vLLM is asked, and
    `ModelError` where vLLM refuses it.
    """
    folder = check(root, name, cfg)
    served = _served_name(folder)
    for url in urls:
        there = loaded(url)
        if served in there:
            continue
        try:
            _ask("POST", f"{url}/load_lora_adapter", {"lora_name": served, "lora_path": str(folder)})
        except ModelError:
            if served not in loaded(url):  # else another process was quicker
                raise
        for before in there:
            if before.startswith(name + _OF_WEIGHTS):
                _unload(url, before)
    return served


def unload(urls: Sequence[str], name: str) -> None:
    """Take an adapter, whatever its weights, out of every replica that has it."""
    for url in urls:
        for there in loaded(url):
            if name_of(there) == name:
                _unload(url, there)


def _unload(url: str, served: str) -> None:
    try:
        _ask("POST", f"{url}/unload_lora_adapter", {"lora_name": served})
    except ModelError:
        if served in loaded(url):  # else another process was quicker
            raise


def swap(urls: Sequence[str], root: Path, old: str, new: str, cfg: LlmConfig) -> None:
    """Load one adapter and unload another; where the first fails, the other stays."""
    load(urls, root, new, cfg)
    if old != new:
        unload(urls, old)


def adapted(endpoint: Endpoint, root: Path, home: Path, cfg: LlmConfig) -> Endpoint:
    """The endpoint for a question to the knowledge base in `home`: its adapter's, loaded where it is not yet.

    `llm.adapter` comes before its own. Raises what `assigned` and `load` raise.
    """
    name = cfg.adapter or assigned(home)
    if not name:
        return endpoint
    return replace(endpoint, model=load((endpoint.base_url, *endpoint.others), root, name, cfg))


def report(status: Status) -> dict[str, Any]:
    """What a page or a program shows of the replicas: all of `status`, time up, adapters, and the log's last lines."""
    rows = []
    for replica in status.replicas:
        try:
            names = sorted(set(map(name_of, loaded(replica.base_url)))) if replica.state == "running" else []
        except ModelError:  # it crashed a moment ago
            names = []
        up = time.time() - replica.since if replica.pid else 0.0
        rows.append(asdict(replica) | {"up_s": round(up, 1), "adapters": names, "log_tail": list(tail(replica))})
    return {"model": status.model, "replicas": rows}


def _ask(method: str, url: str, body: dict[str, Any] | None) -> Any:
    import httpx

    try:
        # plain http: without `verify` no certificates are read, which takes longer than the request
        response = httpx.request(method, url, json=body, timeout=_TIMEOUT_S, trust_env=False, verify=False)
    except httpx.HTTPError as error:
        raise ModelError(
            f"{url} does not answer ({error or type(error).__name__})", "is vLLM running?", retryable=True
        ) from None
    if response.status_code == httpx.codes.OK:
        return response
    if response.status_code == httpx.codes.NOT_FOUND and not body:
        raise ModelError(f"{url} does not exist", "is it a vLLM?")
    raise ModelError(
        f"vLLM refused {url.rpartition('/')[2]} ({response.status_code}): {response.text[:300]}",
        "it must have been started with llm.vllm_lora_rank above 0; see its log",
    )
