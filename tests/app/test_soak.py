"""A short run of bench/soak.py, and at night a longer one; the longest is for whoever changes what a server keeps."""

import pytest

from bench.soak import measure

# So many pages and chats that one descriptor of each that stayed open would be more than may come on top.
MANY_PAGES = {"question": 0.5, "page": 0.25, "chat": 0.21, "upload": 0.02, "job": 0.02}


@pytest.mark.slow
def test_some_hundred_requests_leave_nothing_behind() -> None:
    found = measure(requests=160, minutes=30, warm_up=60, rest_s=12, kinds=MANY_PAGES)
    assert found["failed"] == {}, found["log"]
    assert found["measured"] == 100
    assert found["grown"] == [], found


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_two_thousand_requests_leave_nothing_behind() -> None:
    found = measure(requests=2000, minutes=30, warm_up=200, rest_s=12)
    assert found["failed"] == {}, found["log"]
    assert found["measured"] == 1800
    assert found["grown"] == [], found
