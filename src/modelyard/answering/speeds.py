"""How long the models have taken lately: what the strategy `fastest` goes by."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from modelyard.core.clock import utc_now_ms
from modelyard.core.layout import Project
from modelyard.monitoring.samples import open_traffic

_STAYS_S = 5.0
_QUERY = """
SELECT language_model, latency_s FROM samples
WHERE answered_at_ms >= ? AND kind = 'call' AND outcome = 'answered' AND environment = ?
    AND language_model IS NOT NULL
"""


def measure_speeds(project: Project, environment: str, window_s: float) -> dict[str, float]:
    """The median seconds of a call of each model that answered in the last `window_s` seconds.

    Raises ModelyardError when traffic.db is damaged or was written by a newer modelyard.
    """
    from statistics import median

    since_ms = utc_now_ms() - int(window_s * 1000)
    times = defaultdict(list)
    with open_traffic(project) as traffic:
        for name, latency_s in traffic.execute(_QUERY, (since_ms, environment)):
            times[name].append(latency_s)
    return {name: median(found) for name, found in times.items()}


class Speeds:
    """The same, measured again when what is known is some seconds old; threads may share it."""

    def __init__(self, project: Project, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._project = project
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, float], tuple[float, dict[str, float]]] = {}

    def typical_s(self, environment: str, window_s: float) -> Mapping[str, float]:
        """The median seconds by the model's name; a model that did not answer lately has none."""
        key = environment, window_s
        with self._lock:
            measured_at_s, found = self._known.get(key, (None, {}))
            if measured_at_s is None or self._clock() - measured_at_s > _STAYS_S:
                found = measure_speeds(self._project, environment, window_s)
                self._known[key] = self._clock(), found
            return found
