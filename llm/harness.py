"""Public benchmarks of a served model by lm-evaluation-harness: MMLU, C-Eval, CMMLU, TruthfulQA, HellaSwag and others.

A question of several answers is scored by the likelihood of each, which the server tells of a prompt that it repeats
(`echo` and `logprobs` of /v1/completions): vLLM does. https://github.com/EleutherAI/lm-evaluation-harness
"""

import json
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import ConfigError, ModelError
from llm import child
from llm.harness_worker import SPELT

Progress = Callable[[str, int, int], None]  # stage, done, total

_WORKER = Path(__file__).with_name("harness_worker.py")
_AT_ONCE = 4
_TAIL, _KEPT = 12, 400  # lines that are shown, and looked at
_ERROR = re.compile(r"[\w.]+(?:Error|Exception)\b: .+")
_DONE = re.compile(r"Requesting API:.*?(\d+)/(\d+)")
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "RAGSTONE_LLM__API_KEY")


@dataclass(frozen=True, slots=True)
class Exam:
    """Which benchmarks, by their names in the harness. `data`: a folder with copies of their data sets, as the hub has
    them, FOLDER/maker/name; without one they are downloaded. `limit`: questions of each, 0 for all. `shots`: solved
    examples before a question, None as the benchmark has it.
    """

    tasks: tuple[str, ...]
    data: str = ""
    limit: int = 0
    shots: int | None = None


def check(exam: Exam) -> None:
    """Raise `ConfigError` where the package, the folder or the names of benchmarks are missing."""
    if find_spec("lm_eval") is None:
        raise ConfigError("lm-evaluation-harness is not installed", 'pip install "ragstone[benchmarks]"')
    if not exam.tasks:
        raise ConfigError("no benchmark is named", "e.g. --tasks hellaswag,mmlu,cmmlu,ceval-valid,truthfulqa_mc1")
    if exam.data and not Path(exam.data).is_dir():
        raise ConfigError(f"there is no folder {exam.data!r}", "give the folder of the benchmarks' data sets")


def ask(base_url: str, model: str, tokenizer: Path, context: int, exam: Exam, progress: Progress) -> dict[str, Any]:
    """What a server's model scores: by benchmark its metrics, their standard errors, and the number of questions.

    `base_url` ends in /v1; `tokenizer` is the model's folder, `context` its length in tokens. Raises `ConfigError` for
    names that the harness does not know and data that is not there, `ModelError` where the server fails.
    """
    check(exam)
    job = {
        "base_url": base_url, "model": model, "tokenizer": str(tokenizer), "context": context, "at_once": _AT_ONCE,
        "tasks": list(exam.tasks), "data": exam.data and str(Path(exam.data).resolve()), "limit": exam.limit,
        "shots": exam.shots,
    }  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1"} | ({"HF_HUB_OFFLINE": "1"} if exam.data else {})
    with tempfile.TemporaryDirectory(prefix="ragstone-exam-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        tail = _run([sys.executable, "-P", str(_WORKER), name], env | {"PYTHONUNBUFFERED": "1"}, progress)
        if not (folder / "outcome.json").is_file():
            raise _failed(tail, exam)
        found = json.loads((folder / "outcome.json").read_text("utf-8"))
    if "unknown" in found:
        raise ConfigError(
            f"the harness has no benchmark {', '.join(found['unknown'])}", "`lm-eval ls tasks` lists them all"
        )
    return {"questions": found["questions"], "scores": {task: _metrics(row) for task, row in found["results"].items()}}


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    """`acc,none` and `acc_stderr,none` as acc and acc_stderr; shots are those of the benchmark."""
    told = {key.partition(",")[0]: value for key, value in row.items() if isinstance(value, int | float)}
    return {key: round(float(value), 4) for key, value in told.items() if key != "sample_len"}


def _run(argv: list[str], env: dict[str, str], progress: Progress) -> list[str]:
    """Run the worker; the last of what it said."""
    tail: deque[str] = deque(maxlen=_KEPT)

    def hear(line: str) -> None:
        if told := _DONE.search(line):
            progress("questions", int(told[1]), int(told[2]))
        elif line:
            tail.append(line)

    child.run(argv, env, hear)
    return list(tail)


def _failed(tail: Sequence[str], exam: Exam) -> ConfigError | ModelError:
    missing = [line.removeprefix(SPELT) for line in tail if line.startswith(SPELT)]
    if missing:
        return ConfigError(
            f"{exam.data!r} has no data of {missing[0]}",
            f"where there is a network: `hf download {missing[0]} --repo-type dataset --local-dir FOLDER/{missing[0]}`",
        )
    errors = dict.fromkeys(line for line in tail if _ERROR.fullmatch(line))
    text = "\n".join(list(errors)[:_TAIL] or tail[-_TAIL:])
    return ModelError(f"the benchmarks could not be asked; the harness said:\n{text}", "see data/logs/benchmark.log")
