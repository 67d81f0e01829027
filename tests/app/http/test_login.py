"""Passwords that are tried under many spellings of a name count as tries for one account."""

import asyncio
import unicodedata
from itertools import count
from types import SimpleNamespace
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from app.http.login import _FREE_BY_NAME, _Guard
from app.running.accounts import Accounts, folded

_ADDRESSES = count()


class Nobody:
    """Accounts of which no password is right; Argon2 is left out."""

    def check(self, name: str, password: str) -> None:
        return None


def tries(*names: str) -> list[float | None]:
    """What comes of trying a password under each name, each from an address of its own."""
    accounts: Any = Nobody()
    guard = _Guard(accounts)

    async def all_() -> list[Any]:
        found = []
        for name in names:
            request: Any = SimpleNamespace(client=SimpleNamespace(host=f"client{next(_ADDRESSES)}"))
            found.append(await guard.known(request, name, "a wrong password"))
        return found

    return asyncio.run(all_())


def spelt(name: str, how: int) -> str:
    """Another spelling: capitals, full width, taken apart, surrounded by space."""
    wide = {n: n + 0xFEE0 for n in range(0x21, 0x7F)}
    return (name.upper(), name.translate(wide), unicodedata.normalize("NFD", name), f" {name}\u3000")[how]


@settings(deadline=None)
@given(st.from_regex(r"\A\w[\w.@+-]{0,20}\Z"), st.lists(st.integers(0, 3), min_size=6, max_size=6))
@example("straße", [0, 1, 2, 3, 0, 1])
@example("ﬁona", [0, 1, 2, 3, 0, 1])
@example("Ⅸ", [0, 1, 2, 3, 0, 1])
def test_spellings_that_open_the_same_account_share_one_counter(name: str, how: list[int]) -> None:
    names = [spelt(name, each) for each in how]
    assume(all(folded(each.strip()) == folded(name) for each in names))
    found = tries(*names)
    assert found[:_FREE_BY_NAME] == [None] * _FREE_BY_NAME
    assert isinstance(found[_FREE_BY_NAME], float)


def test_spellings_by_which_a_directory_finds_the_same_person_share_one_counter() -> None:
    found = tries("ann lee", "änn lee", "a\u00adnn lee", "ann  lee", "an\u200bn lee", "ANN\u00a0lee")
    assert found[:_FREE_BY_NAME] == [None] * _FREE_BY_NAME
    assert isinstance(found[_FREE_BY_NAME], float)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_a_name_in_its_one_form_is_its_own_one_form(name: str) -> None:
    assert folded(folded(name)) == folded(name)


def test_different_accounts_have_counters_of_their_own() -> None:
    assert tries(*(f"name{n}" for n in range(20))) == [None] * 20


def test_every_spelling_opens_the_account(tmp_path: Any) -> None:
    accounts = Accounts(tmp_path)
    accounts.add("Straße", "reader", None, "correct horse battery")
    for how in range(3):
        assert accounts.check(spelt("Straße", how), "correct horse battery") == accounts.get("strasse")
