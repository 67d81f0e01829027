"""Another embedder: what it is and takes is told first, knowledge bases answer meanwhile, and there is a way back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.keeping.folders import add_folder
from app.running.bases import State
from app.running.embedders import back, change, earlier, examine, fetch, offers
from app.running.jobs import Cancelled
from core.config import load
from core.errors import ConfigError, ModelError
from retrieval import bundled
from tests.app import tiny_embedder
from tests.llm import hub

Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedders") / "tiny"
    tiny_embedder.build(folder)
    return folder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.delenv("RAGSTONE_RETRIEVAL__EMBEDDER", raising=False)
    file = tmp_path / "config.toml"
    file.write_text('[retrieval]\nembedder = "english"\nprecision = "float32"\n', "utf-8")
    return State(load(file, {"app.data": str(tmp_path / "data")}))


@pytest.fixture
def two(state: State, write: Write) -> State:
    """Two knowledge bases that follow a folder each, and an empty one."""
    for kb in ("one", "two"):
        folder = write(f"{kb}/bakan.md", "# bakan\n\nbelen bimir bonor bupux.").parent
        add_folder(state.cfg, state.bases.make(kb), folder, anywhere=True)
        assert state.bases.update(kb).added == 1
    state.bases.make("empty")
    return state


def made(state: State) -> dict[str, str]:
    return {kb: state.bases.get(kb).embedder.name for kb in state.bases.names()}


def test_what_comes_with_the_app_what_was_fetched_and_what_a_hub_has_is_offered(state: State, tiny: Path) -> None:
    placed = state.bases.data / "models" / "tiny"
    placed.parent.mkdir(parents=True)
    placed.symlink_to(tiny)
    found = {offer.value: offer for offer in offers(state.cfg)}
    assert found["english"].state == "here"
    assert found["multilingual"].state == ("here" if bundled.place().is_dir() else "packed")
    assert (found[str(placed)].name, found[str(placed)].state) == ("tiny", "here")
    assert found["intfloat/multilingual-e5-base"].state == "away"


def test_an_examination_tells_languages_speed_and_the_cost_of_each_knowledge_base(two: State, tiny: Path) -> None:
    found = examine(two, "english")
    assert found.reads == ("en",)
    assert (found.dimension, found.anew) == (384, {})
    assert found.per_second > 0
    other = examine(two, str(tiny))
    assert {kb: (cost.chunks, cost.embed) for kb, cost in other.anew.items() if kb != "empty"} == {
        "one": (1, 1), "two": (1, 1),
    }  # fmt: skip
    assert set(made(two).values()) == {bundled.ENGLISH}


def test_all_are_embedded_anew_it_is_configured_and_there_is_a_way_back(two: State, tiny: Path) -> None:
    assert earlier(two) == {}
    stages: list[str] = []
    done = change(two, str(tiny), lambda stage, *_: stages.append(stage))
    assert {kb: report.embedded for kb, report in done.items()} == {"empty": 0, "one": 1, "two": 1}
    assert {"index one", "index two"} <= set(stages)
    assert set(made(two).values()) == {str(tiny)}
    assert two.cfg.retrieval.embedder == str(tiny)
    assert load(two.settings.file).config.retrieval.embedder == str(tiny)
    assert two.bases.update("one").unchanged == 1  # it can be written
    assert earlier(two) == dict.fromkeys(("empty", "one", "two"), "english")
    assert back(two) == "english"
    assert set(made(two).values()) == {bundled.ENGLISH}
    assert two.cfg.retrieval.embedder == "english"
    assert two.bases.update("two").unchanged == 1


def test_stopped_in_between_it_answers_as_before_or_anew_and_goes_on_where_it_was(two: State, tiny: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "index two":
            raise Cancelled

    with pytest.raises(Cancelled):
        change(two, str(tiny), stop)
    assert made(two) == {"empty": str(tiny), "one": str(tiny), "two": bundled.ENGLISH}
    assert two.bases.update("one").unchanged == 1
    assert list(change(two, str(tiny))) == ["two"]
    assert set(made(two).values()) == {str(tiny)}


@pytest.mark.parametrize(
    ("value", "why"),
    [("maker/absent", "not on this machine yet"), ("langchain:a.b:C", "named in config.toml alone")],
    ids=["away", "code"],
)
def test_what_is_not_here_or_is_code_of_others_is_refused(two: State, value: str, why: str) -> None:
    for recipe in (examine, change):
        with pytest.raises(ConfigError, match=why):
            recipe(two, value)
    assert two.cfg.retrieval.embedder == "english"


def test_where_the_environment_decides_nothing_is_embedded(
    two: State, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGSTONE_RETRIEVAL__EMBEDDER", "english")
    decided = State(load(two.settings.file, {"app.data": str(two.bases.data)}))
    with pytest.raises(ConfigError, match="environment variable"):
        change(decided, str(tiny))
    assert earlier(decided) == {}


@pytest.fixture
def held(tiny: Path) -> Iterator[hub.StandIn]:
    with hub.serving(tiny) as standing:
        yield standing


def test_one_is_fetched_with_progress_and_can_be_used(state: State, held: hub.StandIn) -> None:
    said: list[Any] = []
    folder = fetch(state, hub.REPO, held.address, lambda *told: said.append(told))
    assert folder == state.bases.data.resolve() / "models" / "tiny"
    assert said[0][0].startswith("asking ")
    assert change(state, str(folder)) == {}
    assert state.bases.embedder.name == str(folder)


def test_what_a_hub_refuses_is_told(state: State, held: hub.StandIn) -> None:
    held.status = 503
    with pytest.raises(ModelError):
        fetch(state, hub.REPO, held.address)
