"""A PostgreSQL server for the tests of a module, and an installation that keeps its knowledge bases there."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import Config
from tests.retrieval.pg import Cluster, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of the module's own; its folder is one that every user can enter."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def shared(cfg: Config, cluster: Cluster) -> Config:
    """The configuration of an installation with an empty database."""
    url = cluster.database(uuid.uuid4().hex)
    return cfg.model_copy(update={"app": cfg.app.model_copy(update={"database": url})})
