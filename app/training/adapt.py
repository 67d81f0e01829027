"""Recipe: fine-tune the model that answers, on a data set of approved examples.

rows -> split by file -> training -> loss before and after -> data/models/<name>/, which is there only when all of it
is: the adapter or the model, run.json, loss.jsonl, loss.svg and TensorBoard's events.
"""

import json
import random
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.keeping.index import Progress, quiet
from app.training.curve import write_curve
from app.training.dataset_folder import dataset_home
from app.training.rewards import REWARDS
from core.config import Config
from core.errors import ConfigError, DatasetError, ModelError
from core.text import digest
from llm import finetune, registry
from llm.checkpoints import LOSSES, drop_checkpoints
from llm.examples import Row, examples_file, preferences_file, ratings_file, write_rows
from llm.launch import LOG, command, train_launched
from llm.memory import memory, not_reckoned, size
from llm.methods import PAIRS, Shape, Stage, check, serving
from llm.tokens import load_tokenizer, template_hash
from llm.trainers import Settings, check_settings, in_bf16

Rows = list[Row]

_LIBRARIES = ("ragstone", "trl", "peft", "accelerate", "transformers", "torch")
_MODULE = "app.training.rewards"  # what is launched: training that knows the rewards
_SCAFFOLD = (finetune.JOB, finetune.TRAIN, finetune.DEV, finetune.BEFORE, finetune.OUTCOME, LOG)
_FLAGS = {"batch_size": "batch", "accumulation": "accumulate", "learning_rate": "lr"}  # where they differ


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained on what. `base`: a model's folder, or its name in the registry.

    `source`: the name of a data set (data/datasets/NAME), or such a folder, or a JSONL file. Where it has no dev
    set of its own, the share `dev` of the rows is set aside, by source file. Of continued pre-training it is a
    knowledge base, or a JSONL file of texts. `accelerate`: a configuration
    to train by in several processes.
    """

    name: str
    base: str
    source: str
    settings: Settings
    dev: float = 0.1
    accelerate: Path | None = None


def run(cfg: Config, request: Request, *, resume: bool = False, progress: Progress = quiet) -> dict[str, Any]:
    """Train, and return what run.json says; a finished run of the same inputs and settings is not repeated.

    `resume` goes on with one that was stopped. Raises `DatasetError` for the rows, `ModelError` for the base model and
    for training itself, `ConfigError` for a name that is taken.
    """
    home = registry.home(Path(cfg.app.data), request.name)
    base, record, parts = settled(cfg, request)
    if done := registry.finished(home, record["key"]):
        return done | {"skipped": True}
    train, dev = sides(request, parts)
    with registry.alone(home) as partial:
        registry.begin(partial, record["key"], resume=resume)
        started = time.monotonic()
        prepare(partial, base, request, train, dev)
        if (told := partial / finetune.OUTCOME).exists():  # an earlier attempt had come past training
            outcome = json.loads(told.read_text("utf-8"))
        elif request.accelerate:
            outcome = train_launched(partial, request.accelerate, progress, _MODULE)
        else:
            outcome = finetune.train(partial, progress, REWARDS)
        if outcome["processes"] != (asked := _processes(request.accelerate)):
            outcome["notes"].append(f"accelerate started {outcome['processes']} of the {asked} processes asked for")
        _draw(partial, request.name)
        record |= {"metrics": outcome.pop("metrics"), "training": outcome, "device": outcome.pop("device")}
        record |= {"seconds": round(time.monotonic() - started, 1), "finished": time.strftime("%Y-%m-%d %H:%M:%S")}
        drop_checkpoints(partial)
        for name in _SCAFFOLD:
            (partial / name).unlink(missing_ok=True)
        record = registry.finish(partial, record)
    return record | {"skipped": False}


def settled(cfg: Config, request: Request) -> tuple[Path, dict[str, Any], list[Rows]]:
    """The base of a run, what decides its outcome, and its rows: all that can be refused before it is begun."""
    settings = request.settings
    finetune.check_libraries(settings.method)
    registry.home(Path(cfg.app.data), request.name)
    base = _base(cfg, request.base)
    check_settings(settings)
    if request.accelerate and settings.shape.init != "default":
        raise ConfigError(
            f"--init {settings.shape.init} keeps what it takes out of the base, which several processes cannot",
            "leave --init or --accelerate-config out",
        )
    inputs, parts = _read(cfg, request)
    check(settings.method, settings.shape, _model_config(base))
    return base, _record(cfg, request, base, inputs), parts


def dry_run(cfg: Config, request: Request) -> dict[str, Any]:
    """What a run would do, without training: rows, steps, parameters, memory on one device, the command.

    Raises as `run` does.
    """
    settings = request.settings
    base, _, parts = settled(cfg, request)
    processes = _processes(request.accelerate)
    with tempfile.TemporaryDirectory() as temporary:
        prepare(Path(temporary), base, request, *sides(request, parts))
        plan = finetune.plan(Path(temporary), processes)
    counted = size(base, settings.method, settings.shape)
    needed = memory(counted, _model_config(base), settings, length=plan.longest, wide=not in_bf16(settings))
    return {
        "base": str(base), "method": settings.method, "stage": settings.stage, "processes": processes,
        "parameters": {"base": counted.base, "trained": counted.trainable, "share": counted.trainable / counted.base},
        "memory": asdict(needed) | {"total": needed.total}, "plan": asdict(plan),
        "not_reckoned": not_reckoned(settings), "serving": asdict(serving(settings.method, settings.shape.saved_rank)),
        "command": shlex.join(command_line(request)),
        "launch": shlex.join(command(Path("FOLDER"), request.accelerate, _MODULE)) if request.accelerate else "",
    }  # fmt: skip


# --- inputs ----------------------------------------------------------------------------------------------------------


def _base(cfg: Config, named: str) -> Path:
    """The folder of the base model."""
    named = named or cfg.llm.vllm_model
    if not named:
        raise ConfigError("no base model is named", "give --base FOLDER, or set llm.vllm_model")
    inside = Path(cfg.app.data) / "models" / named
    folder = next((f.resolve() for f in (Path(named).expanduser(), inside) if (f / "config.json").is_file()), None)
    if folder:
        return folder
    if any((f / "adapter_config.json").is_file() for f in (Path(named), inside)):
        raise ConfigError(f"{named!r} is an adapter, which cannot be trained further alone", "merge it first")
    raise ConfigError(
        f"{named!r} is neither a model's folder (with config.json) nor a model of {str(inside.parent)!r}",
        "give the folder of a model in transformers' form; `ragstone models` lists those that are there",
    )


def teacher(cfg: Config, named: str) -> str:
    """The folder of the model that distillation learns from, "" for none. Raises `ConfigError` as for a base."""
    return str(_base(cfg, named)) if named else ""


def _model_config(base: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{str(base)!r} is no model that can be trained: {reason}", "give another one") from None


def _files(cfg: Config, request: Request) -> list[Path]:
    """The files of a data set: what is trained on, and the dev set if it has one of its own."""
    given = Path(request.source).expanduser()
    place = given if given.exists() else dataset_home(Path(cfg.app.data), request.source)
    if place.is_file():
        return [place]
    sides = ("train", "dev")
    for named in _named(request.settings.stage):
        if (place / named("train")).is_file():
            return [file for side in sides if (file := place / named(side)).is_file()]
    names = [_named(request.settings.stage)[0](side) for side in sides]
    raise DatasetError(
        f"{request.source!r} is no JSONL file and no data set: there is no {str(place / names[0])!r}",
        "`ragstone dataset` makes one",
    )


def _named(stage: Stage) -> tuple[Callable[[str], str], ...]:
    """How a data set names the rows of a stage: the first that is there is taken."""
    if stage == "kto":
        return (ratings_file, preferences_file)
    return (preferences_file,) if stage in PAIRS else (examples_file,)


def _read(cfg: Config, request: Request) -> tuple[dict[str, str], list[Rows]]:
    """The hashes of what is trained on, and its approved rows: to train on, and of the dev set if it has its own."""
    if request.settings.stage == "pretrain" and not Path(request.source).expanduser().exists():
        from app.training.corpus import passages

        rows: Rows = [*passages(cfg, request.source)]
        return {f"kb:{request.source}": digest("\n".join(row.model_dump_json() for row in rows)).hex()}, [rows]
    files, read = _files(cfg, request), finetune.reader(request.settings.stage)
    parts = [[row for row in read(file) if row.status == "approved"] for file in files]
    if not parts[0]:
        raise DatasetError(
            f"{str(files[0])!r} has no approved row to train on", 'approve rows ("status": "approved") first'
        )
    return {file.name: registry.file_hash(file) for file in files}, parts


def sides(request: Request, parts: Sequence[Rows]) -> tuple[Rows, Rows]:
    """The rows to train on, and the dev set."""
    return (parts[0], parts[1]) if parts[1:] and parts[1] else _split(parts[0], request.dev, request.settings.seed)


def _split(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Set a share of the rows aside, all rows of a source file on the same side."""
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row.file or f"row {row.id}", []).append(row)
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    held: set[str] = set()
    count = 0
    for name in names[:-1]:  # something is left to train on
        if count + len(groups[name]) <= share * len(rows):
            held.add(name)
            count += len(groups[name])
    sides: tuple[Rows, Rows] = ([], [])
    for name, group in groups.items():
        sides[name in held].extend(group)
    return sides


def prepare(folder: Path, base: Path, request: Request, train: Rows, dev: Rows) -> None:
    """Write what training reads into its folder."""
    finetune.write_job(folder, base, request.settings)
    write_rows(folder / finetune.TRAIN, train)
    write_rows(folder / finetune.DEV, dev)


def _record(cfg: Config, request: Request, base: Path, inputs: dict[str, str]) -> dict[str, Any]:
    """What decides the outcome of a run, and the key that it has by that."""
    method = request.settings.method
    origin = registry.record_of(base)
    record: dict[str, Any] = {
        "kind": "full" if method == "full" else "adapter",
        "model": str(registry.home(Path(cfg.app.data), request.name)), "method": method,
        "stage": request.settings.stage,
        "base": {
            "name": str(base), "identity": registry.weights_hash(base), "revision": str(origin.get("revision", "")),
        },
        "template": template_hash(load_tokenizer(base)),
        "inputs": inputs,
        "settings": asdict(request.settings) | {"dev": request.dev}, "seed": request.settings.seed,
        "accelerate": registry.file_hash(_config(request.accelerate)) if request.accelerate else "",
        "serving": asdict(serving(method, request.settings.shape.saved_rank)),
        "versions": {name: version(name) for name in _LIBRARIES},
    }  # fmt: skip
    if teacher := request.settings.teacher:
        record["teacher"] = {"name": teacher, "identity": registry.weights_hash(Path(teacher))}
    identity = record["base"]["identity"]
    decides = [identity] + [record[name] for name in ("template", "inputs", "settings", "accelerate")]
    decides += [record["teacher"]] if "teacher" in record else []
    return record | {"key": digest(json.dumps(decides, sort_keys=True)).hex()}


def _config(file: Path) -> Path:
    if not file.is_file():
        raise ConfigError(f"there is no accelerate configuration {str(file)!r}", "`accelerate config` writes one")
    return file


def _processes(file: Path | None) -> int:
    """How many processes an accelerate configuration starts."""
    if not file:
        return 1
    import yaml

    try:
        told = yaml.safe_load(_config(file).read_text("utf-8"))
        return max(int(told.get("num_processes") or 1), 1)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise ConfigError(f"{str(file)!r} is no accelerate configuration", "`accelerate config` writes one") from None


# --- what is shown ---------------------------------------------------------------------------------------------------


def _draw(folder: Path, name: str) -> None:
    """Draw loss.jsonl."""
    rows = [json.loads(line) for line in (folder / LOSSES).read_text("utf-8").splitlines()]
    curves = {
        told: [(row["step"], row[key]) for row in rows if key in row]
        for told, key in (("training", "loss"), ("dev set", "dev_loss"))
    }
    write_curve(folder / "loss.svg", f"{name}: loss by step", {told: curve for told, curve in curves.items() if curve})


def command_line(request: Request) -> list[str]:
    """The command of a request, without what is as it is by default."""
    given = {"name": request.name, "base": request.base, "data": request.source}
    words = ["ragstone", "finetune", "model", *(word for flag, text in given.items() for word in _given(flag, text))]
    words += ["--method", request.settings.method, "--stage", request.settings.stage]
    for part, default in ((request.settings, Settings()), (request.settings.shape, Shape())):
        for each in fields(part):
            value, flag = getattr(part, each.name), _FLAGS.get(each.name, each.name.replace("_", "-"))
            if each.name in ("method", "stage", "shape") or value == getattr(default, each.name):
                continue
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    words += ["--dev", str(request.dev)] if request.dev != 0.1 else []
    return words + (_given("accelerate-config", str(request.accelerate)) if request.accelerate else [])


def _given(flag: str, text: str) -> list[str]:
    """A flag with what somebody typed, which must not be taken for a flag itself: `--set` counts wherever it stands."""
    return [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
