"""Figures of the HTTP door in Prometheus' text form.

Guarantees: one line a known route, whatever clients ask for (unknown paths count as `other`), so the page stays small;
counted is every request that ends, a refused one with its reason.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
MEDIA = CONTENT_TYPE_LATEST


class Figures:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rrvf_http_requests", "Requests answered", ["route", "status"], registry=self._registry
        )
        self._refused = Counter(
            "rrvf_http_refused", "Requests refused at the door", ["route", "reason"], registry=self._registry
        )
        self._seconds = Histogram(
            "rrvf_http_seconds", "From the first byte in to the last out, of admitted requests", ["route"],
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._in_flight = Gauge("rrvf_http_in_flight", "Admitted, not yet answered", ["route"], registry=self._registry)

    def refused(self, route: str, reason: str, status: int) -> None:
        self._refused.labels(route, reason).inc()
        self._requests.labels(route, status).inc()

    def entered(self, route: str) -> None:
        self._in_flight.labels(route).inc()

    def left(self, route: str, status: int, seconds: float) -> None:
        """`status` 499: the client went away before the answer began."""
        self._in_flight.labels(route).dec()
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        return generate_latest(self._registry)
