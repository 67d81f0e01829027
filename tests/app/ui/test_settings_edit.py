"""Which settings the page may change: none that decides where data lies, who gets in, or whose code runs."""

import pytest

from app.ui.settings_edit import editable


@pytest.mark.parametrize(
    "name",
    [
        "app.data",
        "app.users",
        "app.host",
        "llm.chat",
        "llm.vllm_env",
        "llm.vllm_args",
        "llm.vllm_host",
        "prompts.library",
    ],
)
def test_what_belongs_to_whoever_owns_the_machine_is_not_edited_on_the_page(name: str) -> None:
    assert not editable(name)


def test_the_rest_is() -> None:
    assert all(map(editable, ["app.folders", "llm.base_url", "llm.vllm_model", "retrieval.k"]))
