"""What is measured, in Prometheus' format. Import it when somebody asks: the library is for them alone in memory."""

from dataclasses import asdict
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest
from starlette.responses import Response

from storage.load import Load

_REGISTRY: Final = CollectorRegistry()
_GAUGES: Final = {
    "waiting": Gauge("reflock_deliveries_waiting", "Promises that are due or to come", registry=_REGISTRY),
    "late_ms": Gauge("reflock_deliveries_late_milliseconds", "How long the oldest is overdue", registry=_REGISTRY),
    "failed": Gauge("reflock_messages_failed", "Messages whose handler crashed", registry=_REGISTRY),
    "persons": Gauge("reflock_persons", "Persons known", registry=_REGISTRY),
}


def exposition(measured: Load) -> Response:
    """Return the measurements, and those of the process."""
    for name, value in asdict(measured).items():
        _GAUGES[name].set(value)
    body = generate_latest(_REGISTRY) + generate_latest(REGISTRY)
    return Response(body, headers={"content-type": CONTENT_TYPE_LATEST})
