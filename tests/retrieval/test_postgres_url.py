"""The URL of a database holds a password: whatever is wrong with it, no error says what stands in it."""

import pytest

from core.errors import ConfigError
from retrieval.postgres.server import Server
from tests.needs import needs

needs("psycopg")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:MARKER%zz@127.0.0.1:1/db", "postgresql://u:MARKER@MARKER@127.0.0.1:1/db",
        "postgresql://u:1/MARKER@127.0.0.1:1/db", "postgresql://u:1?MARKER=@127.0.0.1:1/db",
        "postgresql://u:p#MARKER@127.0.0.1:1/db", "postgresql://u:p@127.0.0.1:1/db?MARKER=1",
    ],
)  # fmt: skip
def test_a_password_that_is_not_written_as_one_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        Server(url).connect()
    assert "MARKER" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("url", ["postgresql:///db?host=/tmp", "postgres://u:%40%2F@[::1]:1,[::1]:2/db?sslmode=prefer"])
def test_one_that_is_can_be_used(url: str) -> None:
    Server(url)
