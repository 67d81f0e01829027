#!/usr/bin/env bash
# trl 1.16.0, `trl.experimental.orpo.ORPOTrainer`.
# Expected: the loss of the paper, where the likelihood that is raised is that of the answer given its prompt
#   (Hong et al. 2024, equations 2 and 6), as the trainer's own labels mark it, and as trl's CPO and DPO have it.
# Seen: the first part of the loss is of all tokens, prompt and answer alike; the labels serve the odds ratio alone. With
#   a prompt of 40 tokens before an answer of 4, nine tenths of it is about the prompt.
# Why it matters: prompts that hold passages, as in retrieval-augmented generation, are learnt by heart, documents that
#   were to be read and not to be known among them, and little is learnt of the answers. Override
#   `concatenated_forward` and put minus the mean of the chosen log probabilities in place of its fifth part.
# Source: trl/experimental/orpo/orpo_trainer.py (`concatenated_forward`), https://arxiv.org/abs/2403.07691
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check trl==1.16.0 transformers==5.19.0 accelerate==1.15.0 datasets==5.2.0 torch==2.13.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import warnings

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
words = [f"w{n}" for n in range(60)]
core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<pad>", "<end>", *words])}, unk_token="<pad>"))
core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")
torch.manual_seed(0)
model = Qwen3ForCausalLM(Qwen3Config(
    vocab_size=62, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
    num_key_value_heads=1, head_dim=32, pad_token_id=0, eos_token_id=1, bos_token_id=None,
))
row = {"prompt": " ".join(words[:40]), "chosen": " w50 w51 w52", "rejected": " w53 w54 w55"}
rows = Dataset.from_list([row] * 2)
args = ORPOConfig("out", use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_length=128, per_device_eval_batch_size=2)
trainer = ORPOTrainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
said = trainer.evaluate()["eval_nll_loss"]
batch = next(iter(trainer.get_eval_dataloader()))
ids, labels = batch["chosen_input_ids"], batch["chosen_labels"]
with torch.no_grad():
    logits = model(input_ids=ids).logits[:, :-1].transpose(1, 2)
loss = torch.nn.functional.cross_entropy
whole, answer = loss(logits, ids[:, 1:]).item(), loss(logits, labels[:, 1:]).item()
share = (labels[:, 1:] == -100).float().mean().item()
print(f"the trainer's part of likelihood {said:.4f}; of all tokens {whole:.4f}; of the answer, by its labels, {answer:.4f}")
print(f"{share:.0%} of the tokens in it are the prompt's")
assert abs(said - whole) < 1e-4 and abs(said - answer) > 1e-3 and share > 0.85
print("as described")
PY
