"""An adapter taken into the weights of its base: a whole model, which every server can load."""

import json
import time
from importlib.metadata import version
from pathlib import Path

from core.errors import ConfigError, ModelError
from core.text import digest
from llm import registry
from llm.methods import serving
from llm.tokens import carry_tokenizer, load_tokenizer, template_hash

WHOLE = frozenset({"full", "merged"})  # kinds that have nothing left to merge
_LIBRARIES = ("ragstone", "peft", "transformers", "torch")


def merge(adapter: Path, base: Path | None = None, folder: Path | None = None) -> Path:
    """The folder of the model in which an adapter's run is merged with its base, in the base's own number format.

    `adapter` is a folder of the registry, `base` the model it was trained on (default: where run.json says it lay),
    `folder` a registry folder for the result (default: the adapter's name with "-merged"). What is merged already is
    left as it is. QLoRA's adapter is merged with the unquantized base. Raises `ConfigError` for a method that weights
    cannot take in or another base than the adapter's, `ModelError` for weights that cannot be read or written.
    """
    record = registry.read_record(adapter)
    if record.get("kind") in WHOLE:
        return adapter
    if record.get("kind") != "adapter":
        raise ConfigError(f"{str(adapter)!r} is a model of kind {record.get('kind')!r}, not an adapter", "name another")
    if not (found := serving(record["method"])).merged:
        raise ConfigError(f"{record['method']} cannot be merged: {found.reason}", "train with --method lora")
    base = base or Path(record["base"]["name"])
    if not base.is_dir():
        raise ConfigError(f"the base model {str(base)!r} is not there", "give its folder as --base")
    identity = registry.weights_hash(base)
    if identity != record["base"]["identity"]:
        raise ConfigError(
            f"the adapter {adapter.name!r} belongs to another base than {str(base)!r}: it was trained on weights "
            f"{record['base']['identity'][:12]}, these are {identity[:12]}",
            "give the folder of the model that it was trained on",
        )
    folder = folder or adapter.with_name(f"{adapter.name}-merged")
    weights = registry.folder_hash(adapter, lambda name: name.startswith("adapter_"))
    key = digest(json.dumps(["merged", weights, identity])).hex()
    if registry.finished(folder, key):
        return folder
    with registry.alone(folder) as partial:
        registry.begin(partial, key, resume=False)
        _merged(adapter, base, partial)
        carry_tokenizer(base, partial)
        registry.finish(
            partial,
            {
                "kind": "merged", "model": str(folder), "base": record["base"], "method": record["method"],
                "adapter": {"name": str(adapter), "identity": weights},
                "template": template_hash(load_tokenizer(partial)), "metrics": record.get("metrics", {}),
                "versions": {name: version(name) for name in _LIBRARIES}, "key": key,
                "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            },
        )  # fmt: skip
    return folder


def _merged(adapter: Path, base: Path, folder: Path) -> None:
    """Add the adapter to each weight, on the CPU, and write the whole."""
    from peft import PeftModel
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(base), dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        both = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        both.merge_and_unload(safe_merge=True).save_pretrained(str(folder))  # safe: refuses NaN
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{adapter.name!r} cannot be merged with {str(base)!r}: {str(error).splitlines()[0]}",
            "check the disk's free space and that both folders are whole",
        ) from error
