"""Recipe: a model in fewer bits, calibrated on a data set's conversations.

adapter merged -> calibration rows in the chat template -> llm-compressor -> data/models/<name>/, which is there only
when all of it is: the weights, the source's tokenizer and chat template byte for byte, run.json with size and
perplexity before and after.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.keeping.index import Progress, quiet
from app.training.dataset_folder import dataset_home
from core.config import Config
from core.errors import ConfigError, DatasetError
from core.text import digest
from llm import quantize, registry
from llm.examples import Example, examples_file, read_examples
from llm.merge import merge
from llm.quantize import Pattern, Pruner, Scheme
from llm.tokens import Tokenized, carry_tokenizer, load_tokenizer, template_hash, tokenize

_CONTEXT = 2048  # tokens of a row; longer ones are left out
_MEASURED = 200  # rows of the dev side that perplexity is measured on, at most


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be quantized. `model`: a model's name in the registry or its folder; `name` of the result.

    `source`: a data set's name, its folder, or a JSONL file. `samples` rows of it calibrate, drawn by `seed`.
    `target`: auto, cpu or cuda-<capability>, see llm/quantize.py. `prune`: the share `sparsity` of the weights is set
    to zero first, two of every four or wherever they matter least.
    """

    model: str
    scheme: Scheme
    source: str
    name: str = ""
    samples: int = 256
    seed: int = 0
    target: str = "auto"
    prune: Pruner = ""
    sparsity: float = 0.5
    pattern: Pattern = "2:4"


def run(
    cfg: Config, request: Request, *, progress: Progress = quiet, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Quantize, and return what run.json says; a finished run of the same inputs and settings is not repeated.

    Raises `ConfigError` for a format that the target cannot serve, `ModelError` for the model and for llm-compressor.
    """
    data = Path(cfg.app.data)
    quantize.check_pruning(request.scheme, request.prune, request.sparsity, request.pattern)
    model = whole(find(data, request.model))
    kinds = [request.prune, "" if request.scheme == "none" else request.scheme]
    name = request.name or "-".join([model.name, *filter(None, kinds)])
    home = registry.home(data, name)
    target = quantize.target_of(cfg.llm, request.target)
    sizes = quantize.sizes_of(model)
    note = quantize.check_target(request.scheme, target, sizes)
    tokenizer = load_tokenizer(model)
    calibration, measured, inputs, notes = _rows(cfg, request, tokenizer)
    origin = registry.record_of(model)
    identity = registry.weights_hash(model)
    group = quantize.group_of(sizes) if request.scheme in ("w4a16", "awq") else 0
    no_data = request.scheme in ("fp8", "mxfp4") and not request.prune  # their scales are of the weights alone
    rows = [] if no_data else [row["input_ids"] for row in calibration.rows]
    pruning = {"prune": request.prune, "sparsity": request.sparsity, "pattern": request.pattern}
    record: dict[str, Any] = {
        "kind": "quantized", "model": str(home), "scheme": request.scheme, "group": group, "target": target,
        "base": origin.get("base") or {"name": str(model), "identity": identity},
        "source": {"name": str(model), "identity": identity}, "template": template_hash(tokenizer), "inputs": inputs,
        "calibration": {"rows": len(rows), "identity": digest(json.dumps(rows)).hex(), "seed": request.seed},
    }  # fmt: skip
    decides = [record[part] for part in ("source", "scheme", "group", "template", "calibration")]
    if request.prune:
        record["pruning"] = pruning
        decides.append(pruning)
    record["key"] = digest(json.dumps([*decides, measured.rows], sort_keys=True)).hex()
    if done := registry.finished(home, record["key"]):
        return done | {"skipped": True}
    python = quantize.ensure(cfg.llm, say)
    with registry.alone(home) as partial:
        registry.begin(partial, record["key"], resume=False)
        started = time.monotonic()
        job = {
            "model": str(model), "scheme": request.scheme, "group": group, "seed": request.seed, "calibration": rows,
            "measured": [row["input_ids"] for row in measured.rows], "labels": [row["labels"] for row in measured.rows],
            **pruning,
        }  # fmt: skip
        outcome = quantize.compress(python, partial, job, progress)
        _unpack(partial)
        carry_tokenizer(model, partial)
        before, after = outcome["perplexity"]["before"], outcome["perplexity"]["after"]
        record |= {
            "metrics": {
                "bytes_before": weight_bytes(model), "bytes_after": weight_bytes(partial), "perplexity_before": before,
                "perplexity_after": after, "tokens": sum(label != -100 for r in measured.rows for label in r["labels"]),
            },
            "notes": [text for text in (note, *notes) if text], "dtype": outcome["dtype"],
            "seconds": round(time.monotonic() - started, 1),
            "versions": {"ragstone": version("ragstone"), "llmcompressor": _pinned()},
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        }  # fmt: skip
        if request.prune:
            record["metrics"]["zeros"] = round(outcome["zeros"], 4)
            record["notes"].append("vLLM computes with zeros as with other weights: they make it no smaller or faster")
        record = registry.finish(partial, record)
    return record | {"skipped": False}


def find(data: Path, named: str) -> Path:
    """The folder of a model that is named in the registry, or is a folder. Raises `ConfigError` where it is neither."""
    inside = data / "models" / named
    files = ("config.json", "adapter_config.json")
    for folder in (inside, Path(named).expanduser()):
        if named and any((folder / file).is_file() for file in files):
            return folder.resolve()
    raise ConfigError(f"there is no model {named!r}", "`ragstone models` lists them; a folder's path will do too")


def whole(model: Path) -> Path:
    """The model as whole weights that can be quantized: an adapter is merged with its base first.

    Raises `ConfigError` for what is quantized already, or cannot be merged.
    """
    if (model / "adapter_config.json").is_file():
        return merge(model)
    if "quantization_config" in json.loads((model / "config.json").read_text("utf-8")):
        raise ConfigError(f"{model.name!r} is quantized already", "give the model that it was made from")
    return model


def side_file(data: Path, source: str, side: str) -> Path:
    """The conversations of a side: of a data set by its name or folder, or a JSONL file, which is all its sides."""
    given = Path(source).expanduser()
    if given.is_file():
        return given
    return (given if given.is_dir() else dataset_home(data, source)) / examples_file(side)


def weight_bytes(model: Path) -> int:
    """The size of a model's weights on disk."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


def _rows(cfg: Config, request: Request, tokenizer: Any) -> tuple[Tokenized, Tokenized, dict[str, str], list[str]]:
    """What calibrates, what perplexity is measured on, the hashes of the files, and what is to be known of them."""
    train, dev = (side_file(Path(cfg.app.data), request.source, side) for side in ("train", "dev"))
    if not train.is_file():
        raise DatasetError(f"{request.source!r} is no JSONL file and no data set", "`ragstone dataset` makes one")
    rows, held = _approved(train), _approved(dev) if dev.is_file() else []
    if not rows:
        raise DatasetError(f"{str(train)!r} has no approved row to calibrate on", "approve rows first")
    random.Random(request.seed).shuffle(rows)
    notes = [] if held and dev != train else ["there is no dev side: perplexity is of the rows that calibrated"]
    held = held[:_MEASURED] if held and dev != train else rows[: min(request.samples, _MEASURED)]
    calibration, measured = (
        tokenize(tokenizer, part, _CONTEXT, refuse=False) for part in (rows[: request.samples], held)
    )
    if left := len(calibration.left_out) + len(measured.left_out):
        notes.append(f"{left} rows of more than {_CONTEXT} tokens were left out")
    if not calibration.rows or not measured.rows:
        raise DatasetError(f"every row of {request.source!r} has more than {_CONTEXT} tokens", "give shorter rows")
    files = {file.name: registry.file_hash(file) for file in dict.fromkeys((train, dev)) if file.is_file()}
    return calibration, measured, files, notes


def _approved(file: Path) -> list[Example]:
    return [row for row in read_examples(file) if row.status == "approved"]


def _unpack(partial: Path) -> None:
    """Take what llm-compressor wrote, and leave nothing of its work behind."""
    for file in (partial / quantize.WEIGHTS).iterdir():
        file.rename(partial / file.name)
    (partial / quantize.WEIGHTS).rmdir()
    for name in (quantize.JOB, quantize.OUTCOME, quantize.LOG, "recipe.yaml"):
        (partial / name).unlink(missing_ok=True)


def _pinned() -> str:
    lines = quantize.PINS.read_text("utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("llmcompressor=="))
