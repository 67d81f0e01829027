"""Quantize a model with llm-compressor: `python compress_worker.py FOLDER`, in llm-compressor's own environment.

FOLDER/job.json says what to do: {"model", "scheme", "group", "calibration": [[id]], "measured": [[id]], "labels":
[[id]]}. The model is written to FOLDER/model and what was measured to FOLDER/outcome.json; progress goes to standard
output as lines of `@ stage done total`. Imports nothing of the app, which this environment does not hold.
"""

# pyright: reportMissingImports=false
# (llm-compressor is in another environment)

import gc
import json
import math
import sys
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
    after = _perplexity(_load(str(folder / "model")), job, "perplexity after")
    outcome = {"perplexity": {"before": before, "after": after}, "dtype": dtype}
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


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
    """Quantize in memory. What equalises the scales comes before what quantizes."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
    from torch.utils.data import DataLoader

    ignore, scheme = ["lm_head"], job["scheme"]
    if scheme == "fp8":
        recipe: list[Any] = [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=ignore)]
    elif scheme == "w8a8":
        smooth = SmoothQuantModifier(smoothing_strength=_SMOOTHING)
        recipe = [smooth, GPTQModifier(targets="Linear", scheme="W8A8", ignore=ignore)]
    elif scheme == "awq":
        _keep_memory_unpinned()
        recipe = [AWQModifier(), QuantizationModifier(config_groups=_groups(job["group"], False), ignore=ignore)]
    else:
        recipe = [GPTQModifier(config_groups=_groups(job["group"], True), ignore=ignore)]
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
