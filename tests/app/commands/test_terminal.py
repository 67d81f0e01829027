from app.commands.terminal import Lines


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_long_run_writes_a_line_now_and_then_with_what_is_left_and_a_last_one() -> None:
    lines: list[str] = []
    clock = Clock()
    told = Lines(lines.append, clock)
    told("scan", 0, 0)
    for done in range(1001):
        clock.now += 1
        told("index", done, 1000)
    assert lines[0] == "index: 9 of 1000, about 17 min left"
    assert lines[-1] == "index: 1000 of 1000"
    assert len(lines) == 101
    told("save", 0, 0)
    assert len(lines) == 101
    clock.now += 10
    told("save", 0, 0)
    assert lines[-1] == "saving"


def test_a_short_run_writes_nothing() -> None:
    lines: list[str] = []
    clock = Clock()
    told = Lines(lines.append, clock)
    for done in range(1, 11):
        clock.now += 0.9
        told("index", done, 10)
    assert lines == []


def test_how_long_the_rest_takes_is_said_in_the_unit_that_fits() -> None:
    for seconds, said in ((40, "40 s"), (600, "10 min"), (2 * 3600, "2 h")):
        lines: list[str] = []
        clock = Clock()
        told = Lines(lines.append, clock)
        told("index", 0, 10)
        clock.now = seconds
        told("index", 5, 10)
        assert lines == [f"index: 5 of 10, about {said} left"]
