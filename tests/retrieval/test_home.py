import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.index import NO_ROOM, run
from core.config import Config
from core.errors import CatalogError
from retrieval.embed import Embedder
from retrieval.home import generations, identity, is_identity, names, promote, rollback, set_identity
from tests.retrieval.corpus import build


def test_rollback_without_an_earlier_generation_is_an_error(cfg: Config, embedder: Embedder) -> None:
    index = build(cfg, embedder)
    with pytest.raises(CatalogError, match="no earlier generation") as error:
        rollback(index.home)
    assert "keep_generations" in error.value.hint
    assert names(index.home.parent) == ["kb"]


def test_by_default_the_generation_before_stays_unless_the_disk_has_no_room_for_another(
    cfg: Config, write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write("a.txt", "第一版。").parent
    home = Path(cfg.app.data) / "kb"
    run(cfg, "kb", [docs])
    assert NO_ROOM not in run(cfg, "kb", rebuild=True).notes
    assert generations(home) == ["g0001", "g0002"]
    assert rollback(home) == "g0001"
    used = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=1000))
    assert NO_ROOM in run(cfg, "kb", rebuild=True).notes
    assert generations(home) == ["g0002"]


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 9])
def test_rebuilds_keep_as_many_generations_as_configured(
    keep: int, cfg: Config, write: Callable[[str, str], Path]
) -> None:
    docs = write("a.txt", "第一版。").parent
    cfg = cfg.model_copy(update={"app": cfg.app.model_copy(update={"keep_generations": keep})})
    home = Path(cfg.app.data) / "kb"
    run(cfg, "kb", [docs])
    for rebuilt in range(1, 5):
        run(cfg, "kb", rebuild=True)
        assert len(generations(home)) == 1 + min(keep, rebuilt)
        assert generations(home)[-1] == f"g{rebuilt + 1:04d}"


def generation(home: Path, name: str) -> None:
    (home / name).mkdir(parents=True)
    (home / name / "catalog.sqlite").touch()


def test_a_knowledge_base_keeps_its_id_over_rebuilds_and_rollbacks(tmp_path: Path) -> None:
    home = tmp_path / "kb"
    generation(home, "g0001")
    promote(home, "g0001", 0)
    known = identity(home)
    assert is_identity(known)
    assert identity(home) == known
    generation(home, "g0002")
    promote(home, "g0002", 1)
    assert identity(home) == known
    generation(home, "g0003")
    set_identity(home, "g0003", "f" * 32)  # of another knowledge base that was restored over it
    promote(home, "g0003", 2)
    assert identity(home) == "f" * 32
    rollback(home)
    assert identity(home) == known


def test_one_that_was_made_again_copied_or_renamed_has_another_id(tmp_path: Path) -> None:
    home = tmp_path / "kb"
    generation(home, "g0001")
    promote(home, "g0001", 0)
    known = {identity(home)}
    shutil.copytree(home, tmp_path / "copy")
    known.add(identity(tmp_path / "copy"))
    home.rename(tmp_path / "renamed")
    known.add(identity(tmp_path / "renamed"))
    generation(home, "g0001")
    promote(home, "g0001", 0)
    known.add(identity(home))
    assert len(known) == 4
    with pytest.raises(CatalogError, match="no knowledge base"):
        identity(tmp_path / "none")


def test_on_a_disk_that_cannot_be_written_it_has_one_id_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "kb"
    generation(home, "g0001")
    promote(home, "g0001", 0)

    def refused(file: Path, text: str) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("retrieval.home.write_whole", refused)
    assert identity(home) == identity(home) != ""
