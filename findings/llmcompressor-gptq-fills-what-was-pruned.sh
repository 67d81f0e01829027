#!/usr/bin/env bash
# llm-compressor 0.14.0.1, `SparseGPTModifier` (2:4) followed by `GPTQModifier` in one recipe.
# Expected: weights that the first step set to zero stay zero, since zero is a value of every symmetric scale; so the
#   written model is 2:4 sparse and in 8 bits.
# Seen: GPTQ spreads the rounding error of each column over the columns that follow, zeros included. A part of the zeros
#   is gone, and blocks of four hold three or four other weights; no warning. `QuantizationModifier`, which rounds, keeps
#   every zero.
# Why it matters: an engine that has kernels for 2:4 refuses the model, or drops what does not fit the pattern, which
#   shows in its answers; the recipe and its log say "2:4" throughout. Behind pruning, round, and count the zeros in the
#   file.
# Source: llmcompressor/modifiers/gptq/gptq_quantize.py, https://arxiv.org/abs/2301.00774 (section 3.4: prune and quantize in one pass)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llmcompressor==0.14.0.1 compressed-tensors==0.19.0 transformers==5.17.0 torch==2.13.0
cd "$folder"
export TQDM_DISABLE=1
"$folder/venv/bin/python" - <<'PY'
import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.pruning import SparseGPTModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from loguru import logger
from safetensors import safe_open
from tokenizers import Tokenizer, models
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

logger.remove()
words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(64)}, unk_token="w0"))
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0").save_pretrained("source")
torch.manual_seed(0)
Qwen3ForCausalLM(Qwen3Config(
    vocab_size=64, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=64,
)).bfloat16().save_pretrained("source")
told = {}
for name, quantizer in (("rounded", QuantizationModifier), ("GPTQ", GPTQModifier)):
    torch.manual_seed(0)
    model = Qwen3ForCausalLM.from_pretrained("source", dtype="auto").eval()
    rows = DataLoader(
        [torch.randint(0, 64, (1, 32)) for _ in range(16)], batch_size=1,
        collate_fn=lambda batch: {"input_ids": batch[0], "attention_mask": torch.ones_like(batch[0])},
    )
    recipe = [
        SparseGPTModifier(sparsity=0.5, mask_structure="2:4", ignore=["lm_head"]),
        quantizer(targets="Linear", scheme="W8A8", ignore=["lm_head"]),
    ]
    oneshot(model=model, dataset=rows, recipe=recipe, num_calibration_samples=16)
    model.save_pretrained(name, save_compressed=True)
    with safe_open(f"{name}/model.safetensors", "pt") as file:
        weights = [file.get_tensor(key) for key in file.keys() if key.endswith("_proj.weight")]
    blocks = torch.cat([(each == 0).reshape(-1, 4) for each in weights]).sum(1)
    told[name] = ((blocks.sum() / blocks.numel() / 4).item(), (blocks < 2).float().mean().item())
    print(f"{name}: {told[name][0]:.1%} of the weights are zero, {told[name][1]:.1%} of the blocks of four have less than two")
assert told["rounded"][0] >= 0.5 and told["rounded"][1] == 0
assert told["GPTQ"][0] < 0.5 and told["GPTQ"][1] > 0.01
print("as described")
PY
