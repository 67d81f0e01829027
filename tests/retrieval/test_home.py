from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.index import run
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
