"""What a person reads of an error."""

import pytest

from core.errors import CatalogError, ModelError, RagstoneError
from llm.endpoint import unreachable


@pytest.mark.parametrize("kind", [RagstoneError, ModelError, CatalogError])
def test_no_error_repeats_the_password_of_an_address(kind: type[RagstoneError]) -> None:
    error = kind("http://ann:MARKER@one.example/v1 is away", "try postgresql://u:MARK@ER@two.example:5432/db")
    assert str(error) == "http://***@one.example/v1 is away\n  → try postgresql://***@two.example:5432/db"
    assert "MARK" not in repr(error) + str(error.args)


def test_the_rest_of_an_address_stays() -> None:
    said = "no https://one.example/a@b?c=d@e, ann@one.example or s3://papers/x@y"
    assert str(RagstoneError(said)) == said
    assert "http://one.example:1/v1" in str(unreachable("http://one.example:1/v1", ""))
