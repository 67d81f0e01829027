"""A short run of bench/soak.py; the long one is for whoever changes what a server keeps."""

import pytest

from bench.soak import measure


@pytest.mark.slow
def test_some_hundred_requests_leave_nothing_behind() -> None:
    found = measure(requests=300, minutes=30, warm_up=100, rest_s=12)
    assert found["failed"] == {}, found["log"]
    assert found["measured"] == 200
    assert found["grown"] == [], found
