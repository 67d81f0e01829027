"""Recipe: a model and what it was made of through public benchmarks, served by vLLM: what a step gained or cost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.keeping.index import Progress, quiet
from app.training.parity import SERVED_AS, served_beside
from app.training.quantize import find
from core.config import Config
from llm import fit, harness, registry
from llm.harness import Exam
from llm.merge import merge
from llm.serve import Server

_CONTEXT = 2048  # tokens, of a model that names none


@dataclass(frozen=True, slots=True)
class Request:
    """`model`: a name in the registry, or a folder. `against`: another one; "" is what it was made of, where known."""

    model: str
    exam: Exam
    against: str = ""


def run(cfg: Config, request: Request, say: Callable[[str], None], progress: Progress = quiet) -> dict[str, Any]:
    """The scores of the model and of what it is set against, by benchmark.

    Raises `ConfigError` for what is not there, `ModelError` where a model cannot be served.
    """
    harness.check(request.exam)
    data = Path(cfg.app.data)
    folder = find(data, request.model)
    record = registry.record_of(folder)
    named = request.against or str(record.get("source", record.get("base", {})).get("name", ""))
    before = _asked(cfg, find(data, named), request.exam, say, progress) if named else {}
    after = _asked(cfg, folder, request.exam, say, progress)
    return {"model": str(folder), "against": named, "before": before, "after": after}


def _asked(cfg: Config, folder: Path, exam: Exam, say: Callable[[str], None], progress: Progress) -> dict[str, Any]:
    """A model served and asked; an adapter is merged first: vLLM's CPU build that serves one ends where it is asked for
    the likelihoods of a prompt (0.32.0).
    """
    if (folder / "adapter_config.json").is_file():
        folder = merge(folder)
    record = registry.record_of(folder)
    llm = served_beside(cfg.llm, folder, record)
    context = llm.vllm_max_model_len or int(
        fit.config_of(Path(llm.vllm_model)).get("max_position_embeddings") or _CONTEXT
    )
    say(f"benchmarks of {folder.name}: {', '.join(exam.tasks)}")
    with Server.start(llm, Path(cfg.app.data) / "logs" / "benchmark.log", say) as server:
        return harness.ask(server.base_url, SERVED_AS, Path(llm.vllm_model), context, exam, progress)
