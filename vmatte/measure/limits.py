"""Limits that a measured matte must keep, for use in a pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vmatte.errors import JobError
from vmatte.measure.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest value that a metric may have for the whole clip."""

    metric: str
    largest: float


def parse_limits(texts: Iterable[str], names: Sequence[str]) -> list[Limit]:
    """Limits from words like `flicker=0.5`; JobError for a metric that is not among `names`, or for no number."""
    limits = []
    for text in texts:
        metric, _, number = text.partition("=")
        if metric not in names:
            raise JobError(f"no metric is called {metric!r} here; there are: {', '.join(names)}")
        try:
            largest = float(number)
        except ValueError:
            largest = math.nan
        if math.isnan(largest):
            raise JobError(f"limit {text!r} has no number; write it like {metric}=0.5")
        limits.append(Limit(metric, largest))
    return limits


def broken_limits(measurement: Measurement, limits: Iterable[Limit]) -> Iterator[str]:
    """What is above its limit, in words.

    A metric that could not be measured breaks its limit too: nothing says that it is kept.
    """
    values = dict(measurement.values())
    for limit in limits:
        value = values[limit.metric]
        if value is None:
            yield f"{limit.metric} could not be measured (limit {limit.largest:g})"
        elif value > limit.largest:
            yield f"{limit.metric} is {value:.3f}, above {limit.largest:g}"
