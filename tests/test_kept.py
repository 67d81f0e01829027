from pathlib import Path

import pytest

from tests import kept as module
from tests.kept import kept, sources


def test_what_is_made_of_the_same_is_copied_and_of_anything_else_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PLACE", tmp_path / "kept")
    source = tmp_path / "source.py"
    source.write_text("one")
    made: list[str] = []

    def make(part: Path) -> None:
        made.append(source.read_text())
        part.mkdir()
        (part / "model").write_text(made[-1])

    def has(name: str, **parameters: int) -> str:
        folder = kept("model", [parameters, *sources(source)], make, tmp_path / name)
        return (folder / "model").read_text()

    assert (has("a", steps=1), has("b", steps=1), made) == ("one", "one", ["one"])
    (tmp_path / "a" / "model").write_text("a test writes into its copy")
    assert has("c", steps=1) == "one"
    assert (has("d", steps=2), len(made)) == ("one", 2)
    source.write_text("two")
    assert (has("e", steps=1), len(made)) == ("two", 3)
    for steps in range(20):
        has(f"f{steps}", steps=steps)
    assert len([each for each in (tmp_path / "kept" / "model").iterdir() if each.is_dir()]) <= 10


def test_a_making_that_failed_leaves_nothing_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PLACE", tmp_path / "kept")

    def fail(part: Path) -> None:
        part.mkdir()
        (part / "half").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        kept("model", [1], fail, tmp_path / "a")
    folder = kept("model", [1], lambda part: part.mkdir(), tmp_path / "b")
    assert list(folder.iterdir()) == []
