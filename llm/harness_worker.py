"""Runs lm-evaluation-harness over a server, in a process of its own (llm/harness.py): `harness_worker.py FOLDER`.

FOLDER/job.json says what: `base_url`, `model`, `tokenizer` (a folder), `tasks`, `data` (a folder, or ""), `limit`,
`shots`, `context` and `at_once`. What it finds is written to FOLDER/outcome.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

SPELT = "not there: "  # how a line begins that names a data set which is missing


def main() -> None:
    """Do the job of a folder."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text("utf-8"))
    import datasets
    import lm_eval
    from lm_eval.tasks import TaskManager

    evaluate: Any = lm_eval.simple_evaluate
    known = TaskManager()
    if unknown := [name for name in job["tasks"] if not known.match_tasks([name])]:
        (folder / "outcome.json").write_text(json.dumps({"unknown": unknown}), "utf-8")
        return
    if job["data"]:
        datasets.load_dataset = _of_folder(Path(job["data"]), datasets.load_dataset)
    found = evaluate(
        model="local-completions",
        model_args={
            "base_url": f"{job['base_url']}/completions", "model": job["model"], "tokenizer": job["tokenizer"],
            "tokenizer_backend": "huggingface", "max_length": job["context"], "num_concurrent": job["at_once"],
            "max_retries": 3, "tokenized_requests": True,
        },
        tasks=job["tasks"], limit=job["limit"] or None, num_fewshot=job["shots"], task_manager=known,
        log_samples=False, bootstrap_iters=1000, random_seed=0, numpy_random_seed=0, torch_random_seed=0,
        fewshot_random_seed=0,
    )  # fmt: skip
    told = {name: found["results"][name] | {"shots": found["n-shot"].get(name)} for name in job["tasks"]}
    asked = sum(each["effective"] for each in found["n-samples"].values())
    (folder / "outcome.json").write_text(json.dumps({"results": told, "questions": asked}), "utf-8")


def _of_folder(folder: Path, load: Any) -> Any:
    """`datasets.load_dataset` over copies of the hub's repositories, FOLDER/maker/name, and nothing else."""

    def loaded(path: str, *args: Any, **named: Any) -> Any:
        if not (folder / path).is_dir():
            sys.exit(f"{SPELT}{path}")
        return load(str(folder / path), *args, **named)

    return loaded


if __name__ == "__main__":
    main()
