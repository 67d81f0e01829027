"""A GGUF file, as llama.cpp reads it, made into a folder that vLLM serves and PEFT trains: the weights in bfloat16.

What quantization lost stays lost: a folder of a 4 bit file is the 4 bit model in 16 bits. The form of the file:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The file is data of a stranger: counts and lengths are held
against its size before anything is read by them.
"""

import json
import mmap
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import ModelError

ENDING = ".gguf"
_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_DEEPEST = 8  # dimensions of a tensor
# Tensor types by their number: name, weights of a block, bytes of a block.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 39: ("MXFP4", 32, 17),
}  # fmt: skip
_MORE = 1.01  # times the weights of the file that the model may have
_WHOLE = frozenset({"F32", "F16", "BF16"})
# How text is cut before its pieces become tokens. transformers knows some by name, and takes GPT-2's rule for others.
_LIKE_GPT2 = frozenset({"", "default", "gpt-2", "gpt2", "phi-2", "jina-es", "jina-de", "mpt", "olmo"})
_DIGITS_ALONE = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before its weights: single values by name, how many tensors and bytes there are of each type,
    and how many weights in all. Lists (a vocabulary) are their length.
    """

    values: dict[str, Any]
    tensors: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)

    @property
    def architecture(self) -> str:
        """llama.cpp's name for it."""
        return str(self.values.get("general.architecture", ""))


def header(file: Path) -> Header:
    """The header of a GGUF file. Raises `ModelError` for another file, and for one that is damaged or cut short."""
    try:
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content).header()
    except (OSError, ValueError, struct.error, KeyError) as error:
        raise ModelError(f"{str(file)!r} is no whole GGUF file: {error}", "get the file again") from None


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at = content, 0

    def header(self) -> Header:
        if self.content[:4] != _MAGIC:
            raise ValueError("it does not begin as one")
        self.at = 4
        if (version := self.one("I")) not in _VERSIONS:
            raise ValueError(f"version {version} is not known")
        tensors, values = self.one("Q"), self.one("Q")
        found = Header({self.text(): self.value(self.one("I")) for _ in range(self.held(values, 12))})
        ends = [self.tensor(found) for _ in range(self.held(tensors, 24))]
        alignment = found.values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError("its alignment is no number")
        needed = -(-self.at // alignment) * alignment + max(ends, default=0)
        if needed > len(self.content):
            raise ValueError(f"{needed - len(self.content)} bytes are missing at its end")
        return found

    def tensor(self, found: Header) -> int:
        """Count a tensor; where it ends, from the beginning of the weights."""
        self.text()
        count = 1
        for _ in range(self.held(self.one("I"), 8, _DEEPEST)):
            count *= self.one("Q")
        kind, offset = self.one("I"), self.one("Q")
        if kind not in _TYPES:
            raise ValueError(f"tensors of type {kind} are not known")
        name, block, size = _TYPES[kind]
        taken = -(-count // block) * size
        found.tensors[name] += 1
        found.weights[name] += count
        found.bytes[name] += taken
        return offset + taken

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.one(_WIDTHS[kind])
        inner, count = self.one("I"), self.one("Q")
        if inner == _STRING:
            for _ in range(self.held(count, 8)):
                self.skip(self.one("Q"))
        else:
            self.skip(struct.calcsize("<" + _WIDTHS[inner]) * self.held(count, 1))
        return count

    def one(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self) -> str:
        start = self.at + 8
        self.skip(self.one("Q"))
        return self.content[start : self.at].decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        self.at += self.held(count, 1)

    def held(self, count: int, size: int, most: int | None = None) -> int:
        """The count, where the rest of the file can hold so many of a size."""
        if count * size > len(self.content) - self.at or (most is not None and count > most):
            raise ValueError("it says that it holds more than its size allows")
        return count


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Write config.json, safetensors, tokenizer and chat template of a GGUF file into a folder; what run.json keeps.

    Raises `ModelError` for an architecture or a type of tensor that transformers does not read, a file of which parts
    are missing, and where the packages are not installed.
    """
    told = header(file)
    if int(told.values.get("split.count") or 1) > 1:
        raise ModelError(
            f"{file.name!r} is one part of several", "join them with llama.cpp's `llama-gguf-split --merge`"
        )
    notes = _model(file, folder, told) + _tokenizer(file, folder, told)
    lossy = {name: count for name, count in told.tensors.items() if name not in _WHOLE}
    total = sum(told.bytes.values())
    return {
        "file": file.name, "architecture": told.architecture, "name": str(told.values.get("general.name", "")),
        "licence": str(told.values.get("general.license", "")), "tensors": dict(told.tensors), "dequantized": lossy,
        "dtype": "bfloat16", "bytes": total,
        "quantized_share": round(sum(told.bytes[name] for name in lossy) / max(total, 1), 4), "notes": notes,
    }  # fmt: skip


def _model(file: Path, folder: Path, told: Header) -> list[str]:
    try:
        import accelerate  # noqa: F401  # which transformers needs for it, and says so in many more words
        import gguf  # noqa: F401  # the same
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig
    except ImportError as error:
        raise ModelError(f"GGUF files need the package {error.name}", 'pip install "ragstone[gguf]"') from None
    try:
        config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
        with torch.device("meta"):  # takes no memory
            wanted = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
        if wanted > _MORE * sum(told.weights.values()):  # what is missing would be made up, at whatever size
            raise ValueError(f"it lacks weights: of {wanted:,} it holds {sum(told.weights.values()):,}")
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=torch.bfloat16, local_files_only=True,
            quantization_config=GgufConfig(dequantize=True), output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError, TypeError, struct.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{file.name!r} cannot be made into a model: {reason}", "take the model's safetensors from its maker"
        ) from error
    model, report = loaded
    if lacking := sorted(report["missing_keys"]):
        raise ModelError(f"{file.name!r} lacks weights of its model: {', '.join(lacking[:3])}", "get the file again")
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise ModelError(f"{file.name!r} holds weights that are no numbers", "get the file again")
    model.save_pretrained(str(folder))
    left = sorted(report["unexpected_keys"])
    return [f"not taken over: {', '.join(left[:5])}"] if left else []


def _tokenizer(file: Path, folder: Path, told: Header) -> list[str]:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the tokenizer in {file.name!r} cannot be read: {reason}", "take the model's safetensors from its maker"
        ) from error
    notes = _split_rule(tokenizer, told)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config = config | (config.get("text_config") or {})
    if context := config.get("max_position_embeddings"):
        tokenizer.model_max_length = context  # the file does not tell, and transformers writes 1e30
    tokenizer.save_pretrained(str(folder))
    if len(tokenizer) > config.get("vocab_size", len(tokenizer)):
        raise ModelError(
            f"the tokenizer in {file.name!r} has more tokens than the model ({len(tokenizer)})", "get another file"
        )
    if not tokenizer.chat_template:
        notes.append("no chat template: it is a base model, or name one to vLLM (--chat-template)")
    return notes


def _split_rule(tokenizer: Any, told: Header) -> list[str]:
    """Set the rule that the file names, where transformers does not; a note where it is not known here either."""
    rule = str(told.values.get("tokenizer.ggml.pre", ""))
    if told.values.get("tokenizer.ggml.model") != "gpt2" or rule in _LIKE_GPT2:
        return []
    if rule in _DIGITS_ALONE:
        from tokenizers import pre_tokenizers

        cut = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
        return []
    if json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"]["type"] == "Sequence":  # known there
        return []
    return [f"its rule for cutting text, {rule!r}, is not known: some texts may become other tokens than its maker's"]
