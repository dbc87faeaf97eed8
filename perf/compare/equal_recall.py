"""Rates at equal recall, read between the points of a sweep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Recall is a count of rows; one row more or less than all of them is as near as it gets to one.
MISS_MIN = 5e-5

Line = Sequence[tuple[float, float]]
"""Recall and rate, a pair for each setting of a sweep; more of either is better."""


@dataclass(frozen=True)
class Rate:
    value: float
    at_least: bool
    """Even the lowest setting of the sweep has more recall; a lower one might have been faster."""


def frontier(line: Line) -> list[tuple[float, float]]:
    """The pairs that no other beats in both, by rising recall."""
    best: list[tuple[float, float]] = []
    for recall, rate in sorted(line, reverse=True):
        if not best or rate > best[-1][1]:
            best.append((recall, rate))
    return best[::-1]


def rate_at(line: Line, recall: float) -> Rate | None:
    """Between two points the logarithm of the rate is linear in that of the share missed."""
    best = frontier(line)
    if not best or best[-1][0] < recall:
        return None
    if best[0][0] >= recall:
        return Rate(best[0][1], at_least=best[0][0] > recall)
    above = next(nth for nth, (reached, _) in enumerate(best) if reached >= recall)
    (low, fast), (high, slow) = best[above - 1], best[above]
    share = (_scale(recall) - _scale(low)) / (_scale(high) - _scale(low))
    return Rate(fast * (slow / fast) ** share, at_least=False)


def _scale(recall: float) -> float:
    return -math.log(max(1 - recall, MISS_MIN))
