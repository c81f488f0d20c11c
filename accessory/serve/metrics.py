"""Counts and times in Prometheus' text format. Everything is counted in the event loop's thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from SPHINX_V.generation.engine import Engine

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "sphinx_v_"
_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Seconds in buckets, each of which counts everything up to its bound."""

    def __init__(self) -> None:
        self._counts = [0] * len(_BOUNDS)
        self._count, self._sum = 0, 0.0

    def add(self, seconds: float) -> None:
        self._count += 1
        self._sum += seconds
        for index, bound in enumerate(_BOUNDS):
            self._counts[index] += seconds <= bound

    @property
    def mean(self) -> float:
        return self._sum / self._count if self._count else 0.0

    def lines(self, name: str) -> Iterator[str]:
        for bound, count in zip(_BOUNDS, self._counts, strict=True):
            yield f'{name}_bucket{{le="{bound:g}"}} {count}'
        yield f'{name}_bucket{{le="+Inf"}} {self._count}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {self._count}"


class Metrics:
    """What the server counts itself; the engine's own counts join them when they are shown."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self.first_token = Histogram()
        self.answer = Histogram()
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = 0
        self.disconnects = 0

    def request(self, method: str, route: str, status: int) -> None:
        self._requests[method, route, status] += 1

    def text(self, engine: Engine, preparing: int) -> str:
        """All of it as Prometheus reads it."""
        stats = engine.stats()
        lines: list[str] = []

        def show(name: str, kind: str, what: str, *values: str) -> None:
            lines.extend([f"# HELP {_PREFIX}{name} {what}", f"# TYPE {_PREFIX}{name} {kind}", *values])

        def one(name: str, kind: str, what: str, value: int) -> None:
            show(
                name,
                kind,
                what,
                f"{_PREFIX}{name} {value}",
            )

        requests = [
            f'{_PREFIX}requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
            for (method, route, status), count in sorted(self._requests.items())
        ]
        show("requests_total", "counter", "Requests by route and status.", *requests)
        one("client_disconnects_total", "counter", "Questions whose client hung up.", self.disconnects)
        one("prompt_tokens_total", "counter", "Tokens of questions.", self.prompt_tokens)
        one("cached_prompt_tokens_total", "counter", "Tokens of questions that were kept.", self.cached_tokens)
        one("completion_tokens_total", "counter", "Tokens of answers.", self.completion_tokens)
        one("engine_tokens_total", "counter", "Tokens computed, cancelled answers included.", stats.tokens)
        one("engine_finished_total", "counter", "Answers that ended.", stats.finished)
        one("engine_failed_total", "counter", "Answers that failed.", stats.failed)
        one("picture_hits_total", "counter", "Pictures that were encoded already.", stats.picture_hits)
        one("picture_misses_total", "counter", "Pictures that were encoded.", stats.picture_misses)
        one("preparing", "gauge", "Questions being read and prepared.", preparing)
        one("queue_length", "gauge", "Questions that wait for a row.", stats.waiting)
        one("rows_running", "gauge", "Answers being computed.", stats.running)
        one("rows", "gauge", "Answers that can be computed at a time.", stats.rows)
        one("cache_bytes", "gauge", "Memory of the rows.", stats.cache_bytes)
        one("prefix_bytes", "gauge", "Memory of kept prompts.", stats.prefix_bytes)
        for name, what, histogram in (
            ("first_token_seconds", "From a question's arrival to the first text of its answer.", self.first_token),
            ("answer_seconds", "From a question's arrival to the end of its answer.", self.answer),
        ):
            show(name, "histogram", what, *histogram.lines(_PREFIX + name))
        return "\n".join(lines) + "\n"
