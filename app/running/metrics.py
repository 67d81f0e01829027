"""What a running app counts, in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats)."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # upper bounds of the buckets
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"})
_ROUTES = frozenset(
    {
        "/healthz",
        "/metrics",
        "/login",
        "/login/oidc",
        "/login/oidc/done",
        "/logout",
        "/mcp",
        "/v1/models",
        "/v1/chat/completions",
    }
)


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        place = next((i for i, bound in enumerate(_SECONDS) if seconds <= bound), len(_SECONDS))
        self.counts[place] += 1
        self.total += seconds

    def lines(self, name: str, labels: Mapping[str, str]) -> Iterator[str]:
        running = 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self.counts, strict=True):
            running += count
            yield _line(f"{name}_bucket", {**labels, "le": bound}, running)
        yield _line(f"{name}_sum", labels, self.total)
        yield _line(f"{name}_count", labels, running)


class Metrics:
    """Counters of one process. Safe to use from many threads; of a bounded size whatever is asked for."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._seconds: dict[str, _Histogram] = {}
        self._answers = _Histogram()
        self._running = 0
        self._mutex = threading.Lock()

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request was answered; `seconds` until the answer began. Paths of the page count as one."""
        route = path if path in _ROUTES else "/v1" if path.startswith("/v1/") else "/"
        with self._mutex:
            self._requests[(method if method in _METHODS else "other", route, str(status))] += 1
            self._seconds.setdefault(route, _Histogram()).add(seconds)

    def answering(self) -> None:
        """An answer is being written, until `answered`."""
        with self._mutex:
            self._running += 1

    def answered(self, seconds: float) -> None:
        """An answer is complete, was broken off, or failed; from question to last word."""
        with self._mutex:
            self._running -= 1
            self._answers.add(seconds)

    def render(self, chunks: Mapping[str, int]) -> str:
        """All of it as text; `chunks` by knowledge base."""
        with self._mutex:
            lines = [*_head("ragstone_http_requests_total", "counter", "Requests by method, route and status.")]
            for (method, route, status), count in sorted(self._requests.items()):
                lines.append(
                    _line("ragstone_http_requests_total", {"method": method, "route": route, "status": status}, count)
                )
            name = "ragstone_http_request_duration_seconds"
            lines += _head(name, "histogram", "Time until a reply begins.")
            for route, histogram in sorted(self._seconds.items()):
                lines += histogram.lines(name, {"route": route})
            name = "ragstone_answer_duration_seconds"
            lines += _head(name, "histogram", "Time from a question to the last word of its answer.")
            lines += self._answers.lines(name, {})
            lines += _head("ragstone_answers_running", "gauge", "Answers that are being written.")
            lines.append(_line("ragstone_answers_running", {}, self._running))
        lines += _head("ragstone_chunks", "gauge", "Passages of a knowledge base that is open.")
        lines += [_line("ragstone_chunks", {"kb": kb}, count) for kb, count in sorted(chunks.items())]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, help_: str) -> tuple[str, str]:
    return f"# HELP {name} {help_}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
