"""The methods of fine-tuning: what each trains, on which architectures, and whether vLLM can serve what comes out.

What vLLM serves was read from its `lora/peft_helper.py` (0.32.0): adapters of LoRA's form alone, without DoRA, up to
rank 512. Everything else must be merged into the weights, or cannot be served at all.
"""

from typing import TYPE_CHECKING, Any, Literal, get_args

from core import plugins
from core.errors import ConfigError
from core.extending import Init as Init
from core.extending import Serving, Shape

if TYPE_CHECKING:
    from peft import PeftConfig

Method = str  # one of `methods()`
Stage = Literal["sft", "pretrain", "dpo", "orpo", "simpo", "kto", "grpo", "distill"]

METHODS: tuple[Method, ...] = (
    "lora", "qlora", "lora-int8", "dora", "prefix", "prompt", "ptuning", "ptuning-v2", "llama-adapter", "ia3", "full"
)  # fmt: skip
STAGES: tuple[Stage, ...] = get_args(Stage)
PAIRS = frozenset[Stage](("dpo", "orpo", "simpo"))
"""Stages that learn from two answers to the same question."""
ASKING = frozenset[Stage](("grpo", "distill"))
"""Stages in which the model answers questions as it is trained."""
REFERRED = frozenset[Stage](("dpo", "kto"))
"""Stages whose loss compares with the model as it was: full fine-tuning holds it twice."""
_MOST_RANK = 512  # vllm.config.lora.MaxLoRARanks
_PREFIX = frozenset[Method](("prefix", "ptuning-v2"))
_VIRTUAL = _PREFIX | {"prompt", "ptuning"}
LOW_RANK = frozenset[Method](("lora", "qlora", "lora-int8", "dora"))
_ADAPTION = ("llama", "mistral")

# Of SFT: LoRA and QLoRA as in Dettmers et al. 2023, DoRA as Liu et al. 2024, IA3 as Liu et al. 2022, LLaMA-Adapter as
# Zhang et al. 2023, prefix and prompt tuning near the values of PEFT's examples.
_RATES: dict[Method, float] = {
    "lora": 2e-4, "qlora": 2e-4, "lora-int8": 2e-4, "dora": 2e-4, "prefix": 1e-2, "prompt": 3e-2, "ptuning": 1e-3,
    "ptuning-v2": 1e-2, "llama-adapter": 9e-3, "ia3": 3e-3, "full": 2e-5,
}  # fmt: skip
# What a stage's rate is a part of: preferences are learnt far slower (Rafailov et al. 2023, Meng et al. 2024), ORPO
# less so since it learns the answer too (Hong et al. 2024: 8e-6 where SFT has 2e-5), GRPO slowest (Shao et al. 2024).
_SLOWER: dict[Stage, float] = {
    "sft": 1, "pretrain": 1, "dpo": 10, "orpo": 2.5, "simpo": 10, "kto": 10, "grpo": 20, "distill": 10,
}  # fmt: skip
# beta of DPO and KTO, lambda of ORPO, the scale of SimPO's margin (Meng et al. 2024), the weight of GRPO's divergence;
# of distillation from KL(teacher, student) at 0 over Jensen and Shannon's to KL(student, teacher) at 1, MiniLLM's (Gu
# et al. 2024; Agarwal et al. 2024, section 3).
_BETAS: dict[Stage, float] = {"simpo": 2.0, "grpo": 0.0, "distill": 1.0}


def methods() -> tuple[Method, ...]:
    """The names of all methods, those of installed plug-ins too."""
    return (*METHODS, *(each.name for each in plugins.installed("methods") if each.name not in METHODS))


def _plugged(method: Method) -> plugins.Plugged | None:
    """The plug-in of a method that is none of ours. Raises `ConfigError` where there is none."""
    if method in METHODS:
        return None
    if method not in methods():
        raise ConfigError(f"there is no method {method!r}", f"known are {', '.join(methods())}")
    return plugins.make("methods", f"plugin:{method}", {}, "peft_config")


def serving(method: Method, rank: int = 16) -> Serving:
    """How what a method makes is served by vLLM."""
    if own := _plugged(method):
        with own.guarded():
            return own.what.serving(rank)
    if method == "full":
        return Serving(False, True, "it is a whole model already")
    if method in LOW_RANK - {"dora"}:
        if rank > _MOST_RANK:
            return Serving(False, True, f"vLLM loads adapters up to rank {_MOST_RANK}, this has {rank}: merge it")
        return Serving(True, True)
    if method == "dora":
        return Serving(False, True, "vLLM does not load DoRA adapters (use_dora): merge it")
    if method == "ia3":
        return Serving(False, True, "vLLM loads adapters of LoRA's form alone: merge it")
    what = "gated attention over a prompt of its own" if method == "llama-adapter" else "virtual tokens"
    return Serving(False, False, f"it adds {what}, which vLLM does not load and no weight can take in")


def default_rate(method: Method, stage: Stage) -> float:
    """The learning rate where none is given: the method's, divided by what the stage is slower than SFT."""
    own = _plugged(method)
    return (own.what.rate if own else _RATES[method]) / _SLOWER[stage]


def default_beta(stage: Stage) -> float:
    """`beta` where none is given, by the paper of the stage."""
    return _BETAS.get(stage, 0.1)


def virtual_tokens(method: Method, shape: Shape) -> int:
    """Places of the context that the method takes for itself."""
    return shape.virtual_tokens if method in _VIRTUAL else 0


def can_recompute(method: Method) -> bool:
    """Whether activations can be computed twice instead of kept: not where a prefix is given as a cache."""
    return method not in _PREFIX


def can_pack(method: Method, stage: Stage) -> bool:
    """Whether rows may stand one behind the other: virtual tokens stand before the first row only, pairs by twos."""
    return stage in ("sft", "pretrain") and method not in _VIRTUAL and method != "llama-adapter"


def check(method: Method, shape: Shape, config: Any) -> None:
    """Raise `ConfigError` where a model of this config cannot be trained by the method."""
    if _plugged(method):
        peft_config(method, shape, config)
    kind = config.model_type
    if method == "llama-adapter":
        if kind not in _ADAPTION:
            raise ConfigError(
                f"LLaMA-Adapter is written for the attention of {' and '.join(_ADAPTION)}, and this model is {kind!r}",
                "take --method lora, or a Llama or Mistral model as --base",
            )
        heads = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size)
        if getattr(config, "head_dim", None) and heads != config.hidden_size:
            raise ConfigError(
                f"LLaMA-Adapter needs heads that make up the hidden size, and {heads} is not {config.hidden_size}",
                "take --method lora",
            )
    if method == "ia3" and kind not in _ia3_kinds():
        raise ConfigError(f"which layers of {kind!r} IA3 scales is not known", "take --method lora")
    if shape.rslora and method not in LOW_RANK:
        raise ConfigError(f"--rslora scales LoRA, and {method} has no rank", "take --method lora, or leave it out")
    if shape.init != "default" and method != (needed := "qlora" if shape.init == "loftq" else "lora"):
        why = "begins with what 4 bits leave over" if needed == "qlora" else "begins with weights in 16 or 32 bits"
        raise ConfigError(f"--init {shape.init} {why}: it does not go with {method}", f"take --method {needed}")
    if shape.alpha <= 0 or shape.rank <= 0 or shape.virtual_tokens <= 0:
        raise ConfigError("rank, alpha and virtual tokens are at least 1", "leave them at their defaults")


def peft_config(method: Method, shape: Shape, config: Any) -> "PeftConfig | None":
    """What PEFT is told; None for full fine-tuning. `config` is the base model's."""
    from peft import (
        AdaptionPromptConfig,
        IA3Config,
        LoraConfig,
        PrefixTuningConfig,
        PromptEncoderConfig,
        PromptTuningConfig,
        TaskType,
    )

    task, virtual = TaskType.CAUSAL_LM, shape.virtual_tokens
    if own := _plugged(method):
        with own.guarded():
            return own.what.peft_config(shape, config)
    match method:
        case "full":
            return None
        case "lora" | "qlora" | "lora-int8" | "dora":
            return LoraConfig(
                task_type=task, r=shape.rank, lora_alpha=shape.alpha, lora_dropout=shape.dropout,
                target_modules="all-linear", use_dora=method == "dora", use_rslora=shape.rslora,
                init_lora_weights=shape.init if shape.init in ("pissa", "olora") else True,
            )  # fmt: skip
        case "prefix" | "ptuning-v2":  # P-tuning v2 (Liu et al. 2022) is a prefix in each layer, without a projection
            return PrefixTuningConfig(task_type=task, num_virtual_tokens=virtual)
        case "prompt":
            return PromptTuningConfig(task_type=task, num_virtual_tokens=virtual)
        case "ptuning":
            return PromptEncoderConfig(
                task_type=task, num_virtual_tokens=virtual, encoder_hidden_size=config.hidden_size
            )
        case "llama-adapter":
            layers = shape.adapted_layers or max(config.num_hidden_layers - 2, 1)
            return AdaptionPromptConfig(
                task_type=task, adapter_len=virtual, adapter_layers=min(layers, config.num_hidden_layers)
            )
        case _:
            return IA3Config(task_type=task)


def _ia3_kinds() -> frozenset[str]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING

    return frozenset(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING)
