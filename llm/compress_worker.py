"""Quantize a model with llm-compressor: `python compress_worker.py FOLDER`, in llm-compressor's own environment.

FOLDER/job.json says what to do: {"model", "scheme", "group", "prune", "sparsity", "pattern", "calibration": [[id]],
"measured": [[id]], "labels": [[id]]}. The model is written to FOLDER/model and what was measured to
FOLDER/outcome.json; progress goes to standard output as lines of `@ stage done total`. Imports nothing of the app,
which this environment does not hold.
"""

# pyright: reportMissingImports=false
# (llm-compressor is in another environment)

import gc
import json
import math
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

UNMEASURED = -100
_SMOOTHING = 0.8  # SmoothQuant's share for the weights, Xiao et al. 2023, section 5
_LONGEST = 2048  # tokens of a calibration row


def main() -> None:
    """Run the job of a folder."""
    import torch

    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text("utf-8"))
    torch.manual_seed(job["seed"])
    _beside("bf16").multiply_in_float32()
    _tell("loading", 0, 1)
    model = _load(job["model"])
    dtype = str(model.dtype).removeprefix("torch.")
    before = _perplexity(model, job, "perplexity before")
    _quantize(model, job)
    _tell("writing", 0, 1)
    model.save_pretrained(str(folder / "model"), save_compressed=True)
    del model
    gc.collect()
    # Measured on what was written and read again, not on what is in memory: that is what will be served.
    written = _load(str(folder / "model"))
    outcome: dict[str, Any] = {"dtype": dtype, "perplexity": {"before": before}}
    if job["prune"]:
        outcome["zeros"] = _zeros(written, job["pattern"])
    outcome["perplexity"]["after"] = _perplexity(written, job, "perplexity after")
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def _beside(name: str) -> Any:
    """A module of this folder, which is not on the path: names in it are those of libraries."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if not spec or not spec.loader:
        raise FileNotFoundError(f"{name}.py is not beside {__file__}")
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def _load(model: str) -> Any:
    """A model on the CPU, in bf16 where its weights are float32: vLLM serves those so."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    dtype = torch.bfloat16 if getattr(config, "dtype", None) in (None, torch.float32) else "auto"
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return loaded.eval()


def _quantize(model: Any, job: dict[str, Any]) -> None:
    """Prune and quantize in memory, the steps of the recipe one after the other."""
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    recipe = _recipe(job)
    rows = job["calibration"]
    if not rows:
        _tell("quantizing", 0, 1)
        oneshot(model=model, recipe=recipe)
        return

    def one(batch: list[list[int]]) -> dict[str, Any]:
        import torch

        ids = torch.tensor([batch[0][:_LONGEST]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    _tell("quantizing", 0, len(rows))
    loader = DataLoader(rows, batch_size=1, collate_fn=one)
    oneshot(model=model, dataset=loader, recipe=recipe, num_calibration_samples=len(rows))


def _recipe(job: dict[str, Any]) -> list[Any]:
    """What equalises the scales, what prunes, what quantizes.

    Behind pruning weights are rounded: GPTQ spreads its errors over the zeros and so fills them (llm-compressor 0.14).
    """
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    steps: list[Any] = []
    every: dict[str, Any] = {"targets": "Linear", "ignore": ["lm_head"]}
    if job["scheme"] == "w8a8":
        steps.append(SmoothQuantModifier(smoothing_strength=_SMOOTHING))
    if job["prune"]:
        pruner = {"sparsegpt": SparseGPTModifier, "wanda": WandaPruningModifier}[job["prune"]]
        block = "2:4" if job["pattern"] == "2:4" else "0:0"
        steps.append(pruner(sparsity=job["sparsity"], mask_structure=block, ignore=every["ignore"]))
    with_errors_spread = QuantizationModifier if job["prune"] else GPTQModifier
    match job["scheme"]:
        case "w8a8":
            steps.append(with_errors_spread(scheme="W8A8", **every))
        case "w4a16":
            steps.append(with_errors_spread(config_groups=_groups(job["group"], True), ignore=every["ignore"]))
        case "awq":
            _keep_memory_unpinned()
            groups = _groups(job["group"], False)
            steps += [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=every["ignore"])]
        case "fp8":
            steps.append(QuantizationModifier(scheme="FP8_DYNAMIC", **every))
        case "nvfp4" | "mxfp4":
            steps.append(QuantizationModifier(scheme=job["scheme"].upper(), **every))
    return steps


def _zeros(model: Any, pattern: str) -> float:
    """The share of the weights of the linear layers that are zero, as written.

    Raises `ValueError` where four in a row have more than two others, and 2:4 was asked for.
    """
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    zeros = count = 0
    for name, layer in model.named_modules():
        if "Linear" not in type(layer).__name__ or name == "lm_head":
            continue
        if hasattr(layer, "weight_packed"):
            shape = torch.Size(layer.weight_shape.tolist())
            weights = unpack_from_int32(layer.weight_packed, 4, shape)
        else:
            weights = layer.weight
        none = weights.float() == 0
        if pattern == "2:4" and int(none.reshape(-1, 4).sum(1).min()) < 2:
            raise ValueError(f"{name} has more than two weights of four that are not zero")
        zeros, count = zeros + int(none.sum()), count + none.numel()
    return zeros / max(count, 1)


def _groups(size: int, symmetric: bool) -> dict[str, Any]:
    """Weights of 4 bits that share a scale by groups of `size`, for all linear layers."""
    weights = {
        "num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": size,
        "observer": "minmax",
    }  # fmt: skip
    return {"group_0": {"targets": ["Linear"], "weights": weights}}


def _keep_memory_unpinned() -> None:
    """AWQ pins its cache for the copy to an accelerator, which fails where there is none."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_args, **_named: None


def _perplexity(model: Any, job: dict[str, Any], stage: str) -> float:
    """The exponential of the mean negative log likelihood of the labelled tokens, each row by itself."""
    import torch

    total, count = 0.0, 0
    rows = list(zip(job["measured"], job["labels"], strict=True))
    with torch.no_grad():
        for number, (ids, labels) in enumerate(rows):
            _tell(stage, number, len(rows))
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
            wanted = torch.tensor(labels[1:])
            loss = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=UNMEASURED, reduction="sum")
            total, count = total + loss.item(), count + int((wanted != UNMEASURED).sum())
    return math.exp(min(total / count, 700.0)) if count else math.nan


def _tell(stage: str, done: int, total: int) -> None:
    sys.stdout.write(f"@ {stage.replace(' ', '_')} {done} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
