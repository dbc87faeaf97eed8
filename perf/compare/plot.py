"""The picture of a run: what share of the exact neighbours a setting misses, against latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from equal_recall import frontier

OURS = "engram"
# A share of exactly nothing has no place on a logarithmic axis.
MISS_MIN = 1e-4
RECALL_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
MARKERS = "osD^vP*XhdpH"


def draw(results: dict[str, Any], file: Path) -> None:
    corpus, machine = results["corpus"], results["machine"]
    measured = {name: peer for name, peer in results["peers"].items() if "points" in peer}
    figure, axes = pyplot.subplots(figsize=(11, 7.5), layout="constrained")
    colours = iter([pyplot.get_cmap("tab10")(nth) for nth in range(10)] * 2)
    for marker, (name, peer) in zip(MARKERS, measured.items(), strict=False):
        points, ours = peer["points"], name == OURS
        style: dict[str, Any] = {
            "marker": marker,
            "markersize": 8 if ours else 5,
            "linewidth": 2.5 if ours else 1.3,
            "linestyle": "-" if peer["in_process"] else "--",
            "color": "black" if ours else next(colours),
            "zorder": 3 if ours else 2,
            "label": name + ("" if peer["in_process"] else " (Unix socket)"),
        }
        seen = [(point["recall"], point["latency_us_p50"]) for point in points]
        _sweep(axes, seen, style)
        own = [point for point in points if point["server_recall_us"]]
        if own:
            inside = [(point["recall"], point["server_recall_us"]["p50"]) for point in own]
            label = f"{name} (inside the server)"
            inside_style = {"markerfacecolor": "white", "linestyle": ":", "label": label}
            _sweep(axes, inside, style | inside_style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator([1 - recall for recall in RECALL_TICKS]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _recall_label(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("median latency of a query as the caller sees it, µs (left is better)")
    axes.set_ylabel(f"recall@{corpus['k']} (up is better)")
    axes.set_title(
        f"{corpus['vectors']:,} vectors of {corpus['dimensions']} dimensions, one core each\n"
        f"{machine['processor']}, {machine['date']}",
        fontsize=11,
    )
    axes.grid(True, alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def _sweep(axes: Any, points: Sequence[tuple[float, float]], style: dict[str, Any]) -> None:
    """Recalls and latencies: a mark for each, a line through those that no other beats."""
    best = frontier([(recall, 1 / latency_us) for recall, latency_us in points])
    line = [(1 / rate, _missed(recall)) for recall, rate in best]
    axes.plot(*zip(*line, strict=True), **style)
    beaten = style | {"linestyle": "none", "label": None, "alpha": 0.4}
    axes.plot(*zip(*[(us, _missed(recall)) for recall, us in points], strict=True), **beaten)


def _recall_label(missed: float) -> str:
    return f"{'≥ ' if missed <= MISS_MIN else ''}{1 - missed:.4g}"


def _missed(recall: float) -> float:
    return max(1 - recall, MISS_MIN)
