"""A tiny causal language model that can learn: it knows wrong answers, and training gives the right ones.

Adapters learn little on weights that are random, so the base is first trained, in seconds, on the questions with the
answers of others. Qwen3 architecture, or Llama (for LLaMA-Adapter), float32, a byte-level BPE and a chat template.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tests.kept import kept, sources

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 512
_PAD, _END = 0, 2  # ids of the first and the third special token
QUESTIONS = tuple(f"Which colour is {thing}?" for thing in "sand rust moss milk coal wine".split())
RIGHT = (
    "It is yellow [1].",
    "It is red [1].",
    "It is green [1].",
    "It is white [1].",
    "It is black [1].",
    "红色 [1]。",
)
WRONG = RIGHT[1:] + RIGHT[:1]


def build(
    folder: Path, questions: Sequence[str] = QUESTIONS, answers: Sequence[str] = WRONG, *,
    kind: Literal["qwen3", "llama"] = "qwen3", hidden: int = 64, layers: int = 2, vocabulary: int = 320,
    steps: int = 60, rate: float = 3e-3, texts: Sequence[str] = (), dtype: str = "float32",
    tied: bool = False,
) -> Path:  # fmt: skip
    """Train a model on the questions with these answers and write it, with its tokenizer, into `folder`.

    `texts` are what the vocabulary is made of beside them. `hidden` is a multiple of 64 (heads of 64). `tied`: one
    matrix is the embeddings and the head.
    """

    def make(part: Path) -> None:
        import torch

        tokenizer = _tokenizer([*questions, *answers, *RIGHT, *texts], vocabulary)
        tokenizer.save_pretrained(str(part))
        torch.manual_seed(0)
        model = _model(kind, hidden, layers, len(tokenizer), tied)
        ids, labels = _batch(tokenizer, questions, answers)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        for _ in range(steps):
            loss = model(input_ids=ids, attention_mask=(ids != _PAD).long(), labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.to(getattr(torch, dtype)).save_pretrained(str(part))

    how = (tuple(questions), tuple(answers), kind, hidden, layers, vocabulary, steps, rate, tuple(texts), dtype, tied)
    made_of = [how, version("torch"), version("transformers"), *sources(Path(__file__))]
    return kept("learning-lm", made_of, make, folder)


def rows(questions: Sequence[str] = QUESTIONS, answers: Sequence[str] = RIGHT) -> str:
    """The questions with these answers as the lines of a training file."""
    lines = []
    for n, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"id": str(n), "messages": messages, "file": f"{n}.md"}, ensure_ascii=False) + "\n")
    return "".join(lines)


def preferences(
    questions: Sequence[str] = QUESTIONS, chosen: Sequence[str] = RIGHT, rejected: Sequence[str] = WRONG
) -> str:
    """The questions with the better and the worse answer as the lines of a training file."""
    lines = []
    for n, (question, *both) in enumerate(zip(questions, chosen, rejected, strict=True)):
        good, bad = ([{"role": "assistant", "content": answer}] for answer in both)
        row = {"id": str(n), "prompt": [{"role": "user", "content": question}], "chosen": good, "rejected": bad}
        lines.append(json.dumps(row | {"file": f"{n}.md"}, ensure_ascii=False) + "\n")
    return "".join(lines)


def answer(model: object, folder: Path, question: str, tokens: int = 24) -> str:
    """What a model says to a question, greedily, with the tokenizer and the template of a folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    asked = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**ids, max_new_tokens=tokens, do_sample=False)  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def _tokenizer(texts: Sequence[str], vocabulary: int):  # noqa: ANN202
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    core.train_from_iterator([*texts, "system\nuser\nassistant\n"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>", model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _model(kind: str, hidden: int, layers: int, vocabulary: int, tied: bool):  # noqa: ANN202
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    heads = hidden // 64
    settings = {
        "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": 64, "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": tied, "eos_token_id": _END, "bos_token_id": None, "pad_token_id": _PAD,
    }  # fmt: skip
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**settings))
    return Qwen3ForCausalLM(Qwen3Config(**settings))


def _batch(tokenizer, questions: Sequence[str], answers: Sequence[str]):  # noqa: ANN001, ANN202
    import torch

    ids, labels = [], []
    for question, said in zip(questions, answers, strict=True):
        asked = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        head, tail = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, f"{said}<|im_end|>"))
        ids.append(torch.tensor(head + tail))
        labels.append(torch.tensor([-100] * len(head) + tail))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, batch_first=True), pad(labels, batch_first=True, padding_value=-100)
