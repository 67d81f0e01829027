import hashlib
import json
from pathlib import Path

import pytest

from core.errors import ConfigError, ModelError
from llm import registry
from llm.registry import Model, models, promote, promoted, promotions, roll_back


def put(data: Path, name: str, record: dict[str, object] | str, parity: dict[str, object] | None = None) -> Path:
    folder = data / "models" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(record if isinstance(record, str) else json.dumps(record))
    if parity is not None:
        (folder / "parity.json").write_text(json.dumps(parity))
    return folder


@pytest.mark.parametrize(
    "name", ["", "..", "../m", "a/b", ".hidden", "m.", "m.partial", "m.lock", "promoted.json", "a" * 65, "a\n", "a b"]
)
def test_a_name_that_could_leave_the_models_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a model"):
        registry.home(tmp_path, name)


def test_a_run_is_there_only_when_it_is_finished(tmp_path: Path) -> None:
    folder = registry.home(tmp_path, "模型-1.2")
    with registry.alone(folder) as partial:
        registry.begin(partial, "key", resume=False)
        (partial / "model.safetensors").write_text("w")
        weights = registry.weights_hash(partial)
        assert registry.finished(folder, "key") is None
        registry.finish(partial, {"key": "key", "kind": "adapter"})
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "run.json"}
    assert not partial.exists()
    assert registry.finished(folder, "key") == {"key": "key", "kind": "adapter", "weights": weights}
    with pytest.raises(ConfigError, match="other inputs or settings"):
        registry.finished(folder, "other")


def test_a_stopped_run_is_gone_on_with_by_its_key_alone(tmp_path: Path) -> None:
    with registry.alone(registry.home(tmp_path, "m")) as partial:
        registry.begin(partial, "key", resume=False)
        registry.keep(partial, registry.state(partial) | {"pairs": 3})
        registry.begin(partial, "key", resume=True)
        assert registry.state(partial) == {"key": "key", "pairs": 3}
        with pytest.raises(ConfigError, match="cannot be gone on with"):
            registry.begin(partial, "other", resume=True)
        registry.begin(partial, "other", resume=False)
        assert registry.state(partial) == {"key": "other"}


def test_one_process_works_at_a_name(tmp_path: Path) -> None:
    folder = registry.home(tmp_path, "m")
    with registry.alone(folder), pytest.raises(ConfigError, match="another process"), registry.alone(folder):
        pass


def test_the_hash_of_a_folder_is_that_of_names_and_contents_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1" * 3_000_000)
    (tmp_path / "a").write_bytes(b"2")
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in (("a", b"2"), ("b/x", b"1" * 3_000_000))]
    assert registry.folder_hash(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()
    before = registry.folder_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "c")
    assert registry.folder_hash(tmp_path) != before


def test_weights_are_known_by_config_and_tensors_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"w")
    before = registry.weights_hash(tmp_path)
    for name in ("run.json", "parity.json", "chat_template.jinja", "README.md"):
        (tmp_path / name).write_text("x")
    assert registry.weights_hash(tmp_path) == before
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"W")
    assert registry.weights_hash(tmp_path) != before


def test_models_are_listed_and_a_broken_record_with_its_reason(tmp_path: Path) -> None:
    assert models(tmp_path) == []
    told = {"kind": "adapter", "base": {"name": "/m/base"}, "finished": "2026-01-02 03:04:05", "metrics": {"a": 1}}
    folder = put(tmp_path, "a", told)
    (folder / "deep").mkdir()
    (folder / "deep" / "weights").write_bytes(b"x" * 1000)
    put(tmp_path, "b", "{")
    put(tmp_path, "c", "[]")
    (tmp_path / "models" / "d").mkdir()
    put(tmp_path, "e", {"base": 3, "metrics": "none"})
    put(tmp_path, "f.partial", {})
    first, *broken, odd = models(tmp_path)
    size = 1000 + len(json.dumps(told))
    assert first == Model("a", folder, "adapter", "/m/base", "2026-01-02 03:04:05", {"a": 1}, size)
    assert [model.name for model in broken] == ["b", "c", "d"]
    assert "not JSON" in broken[0].problem
    assert "not a JSON object" in broken[1].problem
    assert "No such file" in broken[2].problem
    assert (odd.name, odd.base, odd.metrics, odd.problem) == ("e", "3", {}, "")


@pytest.mark.parametrize("kind", ["adapter", "merged", "quantized", "full"])
def test_what_was_made_here_is_promoted_only_where_parity_passed(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "unproven", {"kind": kind})
    put(tmp_path, "drifted", {"kind": kind}, {"passed": False, "causes": ["template: 3 bytes differ", "dtype"]})
    put(tmp_path, "vague", {"kind": kind}, {"passed": "yes"})
    put(tmp_path, "proven", {"kind": kind}, {"passed": True, "causes": []})
    with pytest.raises(ModelError, match="no parity report"):
        promote(tmp_path, "unproven")
    with pytest.raises(ModelError, match="template: 3 bytes differ; dtype"):
        promote(tmp_path, "drifted")
    with pytest.raises(ModelError, match="no cause told"):
        promote(tmp_path, "vague")
    assert promoted(tmp_path) == ""
    promote(tmp_path, "proven")
    promote(tmp_path, "drifted", force=True)
    assert [(each.name, each.forced) for each in promotions(tmp_path)] == [("proven", False), ("drifted", True)]


def test_a_promotion_is_rolled_back(tmp_path: Path) -> None:
    for name in ("first", "second"):
        put(tmp_path, name, {"kind": "pulled"})
        promote(tmp_path, name)
        promote(tmp_path, name)  # changes nothing
    assert promoted(tmp_path) == "second"
    assert roll_back(tmp_path) == "first"
    assert promoted(tmp_path) == "first"
    assert roll_back(tmp_path) == ""
    assert promoted(tmp_path) == ""
    with pytest.raises(ConfigError, match="nothing to roll back"):
        roll_back(tmp_path)


def test_what_cannot_answer_is_not_promoted(tmp_path: Path) -> None:
    put(tmp_path, "finder", {"kind": "embedder"})
    put(tmp_path, "broken", "")
    with pytest.raises(ConfigError, match="there is no model 'absent'"):
        promote(tmp_path, "absent")
    with pytest.raises(ConfigError, match="answers no chat") as error:
        promote(tmp_path, "finder", force=True)
    assert "retrieval.embedder" in error.value.hint
    with pytest.raises(ConfigError, match="'broken' cannot be promoted"):
        promote(tmp_path, "broken", force=True)
    with pytest.raises(ConfigError, match="cannot name a model"):
        promote(tmp_path, "../finder")
    assert promoted(tmp_path) == ""


def test_a_model_that_is_gone_is_not_rolled_back_to(tmp_path: Path) -> None:
    for name in ("first", "second"):
        put(tmp_path, name, {"kind": "pulled"})
        promote(tmp_path, name)
    (tmp_path / "models" / "first" / "run.json").unlink()
    (tmp_path / "models" / "first").rmdir()
    with pytest.raises(ConfigError, match="'first', which answered before, is there no more"):
        roll_back(tmp_path)
    assert promoted(tmp_path) == "second"


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for text in ("{", "[]", "{}", '{"history": [{"nom": 1}]}'):
        (tmp_path / "models" / "promoted.json").write_text(text)
        with pytest.raises(ConfigError, match=r"promoted\.json"):
            promoted(tmp_path)
