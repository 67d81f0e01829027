"""What a log of vLLM says: why it ended, and what it is doing."""

import re
import signal
from pathlib import Path

from core.errors import ModelError

_SHOWN_LINES = 15

# What a log says, what it means, what to do. The first that occurs is taken: causes stand before consequences.
_SIGNS = (
    (
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|driver .* is too old",
        "vLLM's GPU build finds no GPU that it can use",
        'see what nvidia-smi says and update the driver, or set llm.vllm_build = "cpu" (slow)',
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|less than desired GPU memory|No available memory for the cache",
        "the GPU has too little free memory for this model",
        "end other programs on the GPU, set llm.vllm_memory to what is free, lower llm.vllm_max_model_len, "
        "or use a smaller or quantized model",
    ),
    (
        r"on kv cache allocation is less than requested|less than desired CPU memory",
        "this machine has too little free memory for the cache that was asked for",
        "lower llm.vllm_cpu_kv_gb, or end other programs",
    ),
    (
        r"DefaultCPUAllocator|[Cc]annot allocate memory|can't allocate memory|^MemoryError|std::bad_alloc",
        "this machine has too little memory for this model",
        "lower llm.vllm_cpu_kv_gb, end other programs, or use a smaller or quantized model",
    ),
    (
        r"larger than the available KV cache memory",
        "the cache is too small for the model's context",
        "lower llm.vllm_max_model_len, or raise llm.vllm_cpu_kv_gb (CPU) or llm.vllm_memory (GPU)",
    ),
    (
        r"greater than the derived max_model_len",
        "llm.vllm_max_model_len is larger than the context that the model was made for",
        "lower it, or leave it 0 for the model's own",
    ),
    (
        r"Model architectures .* are not supported|does not recognize this architecture",
        "this release of vLLM does not know the model's architecture",
        "use another model, or name an environment with a newer vLLM in llm.vllm_env",
    ),
    (
        r"Address already in use",
        "llm.vllm_port was taken by another program while vLLM started",
        "set llm.vllm_port to a free port, or end that program",
    ),
    (
        r"We couldn't connect to|LocalEntryNotFoundError|OfflineModeIsEnabled|RepositoryNotFoundError|GatedRepoError",
        "the model is no folder here, and it could not be downloaded",
        "check the spelling of llm.vllm_model, the network and, for a gated model, HF_TOKEN; "
        "or download it elsewhere and name its folder",
    ),
    (
        r"Cannot find any model weights|SafetensorError|FileNotFoundError|does not appear to have a file named",
        "files of the model are missing or damaged",
        "download the model again: its folder needs config.json, tokenizer files and complete *.safetensors",
    ),
    (
        r"vllm: error:|appears path-like, but doesn't exist",
        "vLLM refuses one of its arguments",
        "correct llm.vllm_args",
    ),
    (
        r"cannot open shared object file|^ModuleNotFoundError|^ImportError",
        "vLLM's environment is not complete",
        "delete the folder that llm.vllm_env names; it is made anew at the next start",
    ),
)
_PREFIX = re.compile(r"^\(\w+ pid=\d+\) ")
_STEP = re.compile(r"^INFO [\d-]+ [\d:]+ \[[^\]]*\] (.*)")


def explain(log: str, code: int, log_path: Path) -> ModelError:
    """Why vLLM ended, from its log and exit code (128 + n: killed by signal n), as an error that says what to do."""
    lines = [_PREFIX.sub("", line).rstrip() for line in log.splitlines() if line.strip()]
    for pattern, message, hint in _SIGNS:
        if found := next((line for line in reversed(lines) if re.search(pattern, line)), None):
            return ModelError(f"vLLM failed: {message}\n  {found.strip()[:400]}", f"{hint}; log: {log_path}")
    # an engine that ends without a word of its own was killed, and so was a process that ended by signal 9
    silent = "Engine core initialization failed" in log and not re.search(r"^\(EngineCore.*\) ERROR", log, re.MULTILINE)
    if silent or code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return ModelError(
            "vLLM was killed (signal 9), most likely because the machine ran out of memory",
            f"end other programs, lower llm.vllm_cpu_kv_gb, or use a smaller or quantized model; log: {log_path}",
        )
    tail = "\n".join(f"  {line[:300]}" for line in lines[-_SHOWN_LINES:])
    return ModelError(f"vLLM ended with exit code {code}; the end of its log:\n{tail}", f"the whole log is {log_path}")


def last_step(log: str) -> str:
    """The last line of a log that tells what vLLM is doing."""
    for line in reversed(re.split(r"[\r\n]+", log)):
        line = _PREFIX.sub("", line).strip()
        step = _STEP.match(line)
        text = step.group(1) if step else line if line.startswith("Loading ") else ""
        if re.search(r"\w{3}", text):
            return text[:120]
    return "its libraries are being loaded"
