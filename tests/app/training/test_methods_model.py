"""What `ragstone finetune model` does beside the plain run: stages with rows of their own, several processes by FSDP,
and what a trained model answers.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.training import answers
from app.training.adapt import Request, dry_run, run
from core.config import Config, load
from core.errors import ConfigError, ModelError
from llm import registry
from llm.methods import Shape
from llm.trainers import Settings
from tests import learning_lm
from tests.needs import needs

pytestmark = pytest.mark.slow

needs("trl", "peft")

Ask = Callable[..., Request]

FSDP2 = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_machines: 1
num_processes: 2
mixed_precision: 'no'
main_process_port: 0
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: Qwen3DecoderLayer
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: false
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return learning_lm.build(tmp_path_factory.mktemp("base"))


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return load(flags={"app.data": str(tmp_path / "data")}, environ={}).config


@pytest.fixture
def ask(base: Path, tmp_path: Path) -> Ask:
    """A request on the data set "set"; keywords are settings."""
    folder = tmp_path / "data" / "datasets" / "set"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(learning_lm.rows())
    (folder / "preferences-train.jsonl").write_text(learning_lm.preferences())

    def make(name: str = "m", accelerate: Path | None = None, **keys: object) -> Request:
        told = {"max_steps": 2, "batch_size": 6, "learning_rate": 1e-2, "recompute": False, "report": "none"} | keys
        return Request(name, str(base), "set", Settings(**told), 0.0, accelerate)  # pyright: ignore[reportArgumentType]

    return make


def test_ratings_are_taken_before_pairs_and_pairs_where_there_are_none(cfg: Config, ask: Ask) -> None:
    report = run(cfg, ask("pairs", stage="kto"))
    assert list(report["inputs"]) == ["preferences-train.jsonl"]
    assert report["training"]["rows"]["train"] == 12
    prompt, said = [{"role": "user", "content": "Q?"}], [{"role": "assistant", "content": "It is red [1]."}]
    rows = [{"id": f"{n}", "prompt": prompt, "completion": said, "label": n > 1} for n in range(3)]
    file = Path(cfg.app.data) / "datasets" / "set" / "ratings-train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = dry_run(cfg, ask("ratings", stage="kto"))
    assert told["plan"]["train"] == 3
    assert "--stage kto" in told["command"]


def test_a_student_learns_from_a_teacher_of_its_family_alone(
    cfg: Config, ask: Ask, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("teachers")
    teacher = learning_lm.build(home / "right", answers=learning_lm.RIGHT)
    other = learning_lm.build(home / "other", vocabulary=300, steps=0)
    told = {"stage": "distill", "answer_tokens": 8, "beta": 0.0, "max_steps": 4}
    report = run(cfg, ask("student", teacher=str(teacher), **told))
    before, after = (report["metrics"][when]["train_loss"] for when in ("before", "after"))
    assert after < 0.8 * before
    assert report["teacher"] == {"name": str(teacher), "identity": registry.weights_hash(teacher)}
    with pytest.raises(ModelError, match="another vocabulary"):
        run(cfg, ask("other", teacher=str(other), **told))
    with pytest.raises(ConfigError, match="go together"):
        run(cfg, ask("none", **told))
    assert any("teacher" in note for note in dry_run(cfg, ask("d", teacher=str(teacher), **told))["not_reckoned"])


def test_what_training_gained_is_told_by_the_checks_of_the_app(cfg: Config, ask: Ask, base: Path) -> None:
    run(cfg, ask("tuned", max_steps=30))
    report = answers.run(cfg, answers.Request("tuned", "set", most=16))
    assert report["scores"] == {"refusal_right": 1.0, "as_gold": 1.0}
    assert report["before"]["as_gold"] < 0.9
    assert (report["against"], report["conversations"]) == (str(base), 6)
    assert "trained on" in report["notes"][0]


def test_two_processes_by_fsdp2_train_as_one_does(
    cfg: Config, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "fsdp2.yaml"
    file.write_text(FSDP2)
    full = {"method": "full", "learning_rate": 1e-3}
    alone = run(cfg, ask("alone", **full))
    report = run(cfg, ask("both", file, **full | {"batch_size": 3}))
    assert report["training"]["processes"] == 2
    losses = [
        [json.loads(line)["loss"] for line in (Path(cfg.app.data) / "models" / name / "loss.jsonl").open()]
        for name in ("alone", "both")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    after = [each["metrics"]["after"]["train_loss"] for each in (alone, report)]
    assert after[1] == pytest.approx(after[0], rel=5e-2)
    assert registry.weights_hash(Path(report["model"])) != registry.weights_hash(Path(ask().base))


def test_what_lora_begins_with_is_not_kept_by_shards(cfg: Config, ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "fsdp2.yaml"
    file.write_text(FSDP2)
    with pytest.raises(ConfigError, match="--init pissa"):
        run(cfg, ask("m", file, shape=Shape(init="pissa")))
