"""A tiny causal language model for tests: Qwen3 architecture, no training, replies known beforehand.

Attention and MLP write nothing to the residual stream, so the next token depends on the last one alone, and the output
matrix says which follows which. Replies are cut into pieces that each occur once, and the chat template ends in the
token that starts a reply. Prompts are tokenised by an ordinary byte-level BPE.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from tests.kept import kept, sources

CONTEXT = 32768
_SENTENCES = (
    "Answer the question from the numbered sources. Every employee gets annual leave, sick leave and training days.",
    "The office is open from Monday to Friday, 9:00 to 18:00; expenses above 500 must be approved by the manager.",
    "根据编号的资料回答问题。员工每年享有年假、病假和培训假，试用期为三个月。",
    "办公时间为星期一至星期五，九点到十八点。超过五百元的报销须经主管批准，合同到期前三十日通知对方。",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says where the last message contains `marker`; an endless one repeats up to the token limit."""

    text: str
    marker: str = ""
    endless: bool = False


REPLIES = (
    Reply("NO_ANSWER", "unicorn"),
    Reply("And the handbook goes on [1]. 手册继续写道 [1]。 ", "endless", endless=True),
    Reply("The handbook answers this question [1]. 手册里有这个问题的答案 [1]。"),
)


def build(folder: Path, replies: Sequence[Reply] = REPLIES, *, layers: int = 1, hidden: int = 256) -> Path:
    """Write the model and its tokenizer into `folder`; it gives the first reply whose marker occurs ("" always does).

    About a million parameters; more `layers` and a larger `hidden` (a multiple of 64) take longer and say the same. The
    right token leads the others by tens of nats: sampling does not change a reply.
    """
    made_of = [replies, layers, hidden, version("transformers"), *sources(Path(__file__))]
    return kept("tiny-lm", made_of, lambda part: _make(part, replies, layers, hidden), folder)


def _make(folder: Path, replies: Sequence[Reply], layers: int, hidden: int) -> None:
    pieces = _pieces([reply.text for reply in replies])
    starts = [f"<|reply_{i}|>" for i in range(len(replies))]
    ids = _save_tokenizer(folder, replies, starts, pieces)
    follows = {}
    for reply, start, chain in zip(replies, starts, pieces, strict=True):
        tokens = [start, *(_byte_level(piece) for piece in chain)]
        tokens.append(tokens[1] if reply.endless else "<|im_end|>")
        follows |= {ids[a]: ids[b] for a, b in pairwise(tokens)}
    _save_model(folder, follows, len(ids), ids["<|im_end|>"], layers, hidden)


def _save_tokenizer(
    folder: Path, replies: Sequence[Reply], starts: list[str], pieces: list[list[str]]
) -> dict[str, int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|im_start|>", "<|im_end|>", *starts]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(_SENTENCES, trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocab: dict[str, int] = learnt["vocab"]
    for piece in (piece for chain in pieces for piece in chain):
        vocab.setdefault(_byte_level(piece), len(vocab))
    core = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(pair) for pair in learnt["merges"]]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", model_max_length=CONTEXT, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = _template(replies, starts)
    tokenizer.save_pretrained(str(folder))
    return vocab


def _save_model(folder: Path, follows: dict[int, int], vocab_size: int, end: int, layers: int, hidden: int) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        eos_token_id=end,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        embedding = model.model.embed_tokens.weight
        embedding.copy_(torch.randn(embedding.shape))
        model.lm_head.weight.zero_()
        for token, successor in follows.items():
            model.lm_head.weight[successor] += 8 * embedding[token] / embedding[token].norm()
    model.bfloat16().save_pretrained(str(folder))


def _pieces(texts: list[str]) -> list[list[str]]:
    """Each text as pieces of four characters or a few more, so that no piece occurs twice in any of them."""
    used: set[str] = set()
    chains = []
    for text in texts:
        chain: list[str] = []
        start = 0
        while start < len(text):
            end = start + 4
            while text[start:end] in used and end < len(text):
                end += 1
            piece = text[start:end]
            if piece in used and chain:  # the end of the text stood elsewhere: it joins the piece in front
                used.remove(chain[-1])
                piece = chain.pop() + piece
            if piece in used:
                raise ValueError(f"reply {text!r} repeats a piece of another: {piece!r}")
            used.add(piece)
            chain.append(piece)
            start = end
        chains.append(chain)
    return chains


def _byte_level(text: str) -> str:
    """A text as the token that byte-level BPE decodes to it."""
    from tokenizers import pre_tokenizers

    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(part for part, _ in splitter.pre_tokenize_str(text))


def _template(replies: Sequence[Reply], starts: list[str]) -> str:
    turns = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    choice = "".join(
        f"{{% {'elif' if i else 'if'} {json.dumps(reply.marker)} in messages[-1]['content'] %}}{start}"
        for i, (reply, start) in enumerate(zip(replies, starts, strict=True))
    )
    return turns + "{% if add_generation_prompt %}<|im_start|>assistant\n" + choice + "{% endif %}{% endif %}"
