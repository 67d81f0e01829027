"""What one caller may take: answers a minute and at once; and how somebody who guesses passwords is slowed down."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

from app.running.metrics import Metrics
from core.errors import AccessError

_REMEMBERED = 10_000  # callers; the one that was not seen for longest is forgotten first
_FORGIVEN_S = 3600.0  # after this long without an attempt, earlier ones count no more


class LimitError(AccessError):
    """Too much was asked for; `retry_after_s` says when to come again."""

    def __init__(self, message: str, hint: str, retry_after_s: float) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


def address(request: Any) -> str:
    """Where a request comes from, for counting."""
    return network(request.client.host) if request.client else ""


def network(host: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network, of which a house has a /64."""
    try:
        return str(ip_network((host, 64), strict=False)) if ip_address(host).version == 6 else host
    except ValueError:
        return host


def caller(request: Any, user_id: str) -> str:
    """For whom a request counts: its user, or, without users, its address."""
    return f"user {user_id}" if user_id else f"address {address(request)}"


class Ticket:
    """An answer that was admitted: it counts until it is released, which a second time does nothing.

    As a context it is released at the end, however that comes.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release
        self._mutex = threading.Lock()

    def release(self) -> None:
        """The answer ended, failed, or nobody is there any more to read it."""
        with self._mutex:
            release, self._release = self._release, None
        if release:
            release()

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Limits:
    """A token bucket per caller for answers, and how many are being written for each. 0 stands for no limit."""

    def __init__(
        self, per_minute: int, at_once: int, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute, self.at_once, self.metrics, self._clock = per_minute, at_once, metrics, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> (tokens, when)
        self._running: Counter[str] = Counter()
        self._begun: Counter[float] = Counter()  # when answers under way began (monotonic)
        self._mutex = threading.Lock()

    def begun_before(self, when: float) -> bool:
        """Whether an answer is under way that began before a time of `time.monotonic`."""
        with self._mutex:
            return any(began < when for began in self._begun)

    def take(self, who: str) -> None:
        """Count a question of the minute, before anything of it is kept. Raises `LimitError`."""
        with self._mutex:
            self._take(who)

    def admit(self, who: str, *, taken: bool = False) -> Ticket:
        """Admit an answer and count it, as one act, until its ticket is released. Raises `LimitError`.

        `taken`: its question was counted already.
        """
        with self._mutex:
            if self.at_once and self._running[who] >= self.at_once:
                raise LimitError(
                    f"{self.at_once} answers are being written for you already",
                    "wait for one of them; app.answers_at_once sets the number",
                    1.0,
                )
            if not taken:
                self._take(who)
            self._running[who] += 1
            now = time.monotonic()
            self._begun[now] += 1
        self.metrics.answering()
        return Ticket(partial(self._ended, who, now))

    def _take(self, who: str) -> None:
        """Take one answer of a caller's allowance."""
        if not self.per_minute:
            return
        now, rate = self._clock(), self.per_minute / 60
        left, at = self._buckets.pop(who, (float(self.per_minute), now))
        left = min(left + (now - at) * rate, float(self.per_minute))
        self._buckets[who] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if left < 1:
            raise LimitError(
                f"more than {self.per_minute} questions in a minute",
                "wait a little; app.answers_per_minute sets the number",
                (1 - left) / rate,
            )

    def _ended(self, who: str, started: float) -> None:
        with self._mutex:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]
            self._begun[started] -= 1
            if not self._begun[started]:
                del self._begun[started]
        self.metrics.answered(time.monotonic() - started)


class Backoff:
    """Failed attempts by name or address: some are free, then the wait doubles with each, up to a minute.

    An attempt counts as failed from its beginning, so that many at once gain nothing; `forgive` takes back.
    """

    def __init__(self, free: int, clock: Callable[[], float] = time.monotonic, longest_s: float = 60.0) -> None:
        self._free, self._clock, self._longest_s = free, clock, longest_s
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # key -> (attempts, when the last was)
        self._mutex = threading.Lock()

    def attempt(self, key: str) -> float:
        """Seconds to wait before an attempt may be made; 0.0: it may be made now, and was counted."""
        with self._mutex:
            now = self._clock()
            count, last = self._failed.pop(key, (0, now))
            if now - last > _FORGIVEN_S:
                count = 0
            over = count - self._free
            wait = last + min(2.0 ** min(over, 30), self._longest_s) - now if over >= 0 else 0.0
            self._failed[key] = (count, last) if wait > 0 else (count + 1, now)
            if len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
            return max(wait, 0.0)

    def forgive(self, key: str, *, all_: bool) -> None:
        """The last attempt of a key was in good faith; or all were."""
        with self._mutex:
            count, last = self._failed.pop(key, (0, 0.0))
            if count > 1 and not all_:
                self._failed[key] = (count - 1, last)
