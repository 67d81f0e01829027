import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.index import NO_ROOM, run
from core.config import Config
from core.errors import CatalogError
from retrieval.embed import Embedder
from retrieval.home import generations, names, rollback
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
