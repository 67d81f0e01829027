import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.once import once


class Costly:
    def __init__(self) -> None:
        self.made = 0
        self.start = threading.Barrier(8)

    @once
    def model(self) -> object:
        """What is costly."""
        self.made += 1
        time.sleep(0.05)
        return object()

    @once
    def fails_at_first(self) -> int:
        self.made += 1
        if self.made == 1:
            raise OSError("not yet")
        return self.made

    def use(self, _: int) -> object:
        self.start.wait()
        return self.model


def test_threads_that_ask_at_once_get_one_and_the_same() -> None:
    costly, other = Costly(), Costly()
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(costly.use, range(8)))
    assert costly.made == 1
    assert found == {costly.model}
    assert other.model not in found
    assert Costly.model.__doc__ == "What is costly."


def test_what_failed_is_tried_again() -> None:
    costly = Costly()
    with pytest.raises(OSError, match="not yet"):
        _ = costly.fails_at_first
    assert costly.fails_at_first == costly.fails_at_first == 2
