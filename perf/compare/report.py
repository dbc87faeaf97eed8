#!/usr/bin/env python3
"""The table of a run, and with the files of earlier runs named, table and plot anew."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plot
from equal_recall import Line, Rate, rate_at

RECALLS = (0.95, 0.98, 0.99, 0.995)
OURS = "engram"
# A library that had less of its core while it worked was not alone on it.
CORE_SHARE_MIN = 0.9


def markdown(results: dict[str, Any]) -> str:
    corpus, machine = results["corpus"], results["machine"]
    measured = {name: peer for name, peer in results["peers"].items() if "points" in peer}
    lines = [
        f"{corpus['vectors']:,} vectors of {corpus['dimensions']} dimensions, "
        f"{corpus['queries']:,} queries, recall@{corpus['k']} against exact; one core each.",
        f"{machine['processor']}, Linux {machine['kernel']}, {machine['date']}, "
        f"load average {machine['load_average_before']} before the run, "
        f"commit {results['commit']}.",
        "",
        "## Queries per second of one core at equal recall",
        "",
        f"In brackets: {OURS} : peer.",
        "",
        *_equal_recall(_lines(measured, "queries_per_s"), lambda rate: rate),
        "",
        "## Median latency of a single query at equal recall, µs",
        "",
        f"In brackets: peer : {OURS}, as its client sees it through the socket.",
        "",
        *_equal_recall(_latency_lines(measured), lambda rate: 1e6 / rate),
        "",
        "## Building and holding",
        "",
        *_builds(measured),
        "",
        "## Every point",
        "",
        *_points(measured),
        *_notes(results["peers"]),
    ]
    return "\n".join(lines) + "\n"


def _lines(measured: Mapping[str, Any], rate: str) -> dict[str, Line]:
    return {
        name: [(point["recall"], point[rate]) for point in peer["points"]]
        for name, peer in measured.items()
    }


def _latency_lines(measured: Mapping[str, Any]) -> dict[str, Line]:
    """Queries per second if one followed the other, so that more is better."""
    lines: dict[str, Line] = {}
    for name, peer in measured.items():
        points = peer["points"]
        lines[name] = [(point["recall"], 1e6 / point["latency_us_p50"]) for point in points]
        own = [point for point in points if point["server_recall_us"]]
        if own:
            lines[f"{name}, inside the server"] = [
                (point["recall"], 1e6 / point["server_recall_us"]["p50"]) for point in own
            ]
    return lines


def _equal_recall(lines: Mapping[str, Line], shown: Callable[[float], float]) -> list[str]:
    """A row for each peer, a column for each recall."""
    table = [
        "| | " + " | ".join(f"{recall:g}" for recall in RECALLS) + " |",
        "|---|" + "---|" * len(RECALLS),
    ]
    ours = [rate_at(lines.get(OURS, []), recall) for recall in RECALLS]
    for name, line in lines.items():
        theirs = [rate_at(line, recall) for recall in RECALLS]
        cells = [
            _cell(rate, None if name.startswith(OURS) else own, shown)
            for rate, own in zip(theirs, ours, strict=True)
        ]
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    return table


def _cell(theirs: Rate | None, ours: Rate | None, shown: Callable[[float], float]) -> str:
    if theirs is None:
        return "not reached"
    mark = " *" if theirs.at_least else ""
    times = "" if ours is None else f" ({ours.value / theirs.value:.2f}×)"
    return f"{shown(theirs.value):,.0f}{mark}{times}"


def _builds(measured: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | vectors/s found | vectors/s indexed | resident MiB | bytes/vector | restart s "
        "| version |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, peer in measured.items():
        build = peer["build"]
        count, accepted_s = build["vectors"], build["accepted_s"]
        found = f"{count / accepted_s:,.0f}" if accepted_s else "as indexed"
        versions = ", ".join(filter(None, [peer["distribution"], peer["version"]]))
        lines.append(
            f"| {name} | {found} | {count / build['indexed_s']:,.0f} "
            f"| {peer['resident_bytes'] / 2**20:,.0f} | {peer['resident_bytes'] / count:,.0f} "
            f"| {peer['restart_s']:.2f} | {versions} |"
        )
    return lines


def _points(measured: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | parameters | recall | p50 µs | p99 µs | queries/s | core share "
        "| server p50 µs | server p99 µs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, peer in measured.items():
        for point in peer["points"]:
            words = " ".join(
                str(value) if key == "words" else f"{key} {value}"
                for key, value in point["parameters"].items()
            )
            server = point["server_recall_us"]
            own = [f"{server[quantile]:.1f}" if server else "" for quantile in ("p50", "p99")]
            lines.append(
                f"| {name} | {words or 'default'} | {point['recall']:.4f} "
                f"| {point['latency_us_p50']:.1f} | {point['latency_us_p99']:.1f} "
                f"| {point['queries_per_s']:,.0f} | {point['core_share']:.2f} "
                f"| {own[0]} | {own[1]} |"
            )
    return lines


def _notes(all_peers: Mapping[str, Any]) -> list[str]:
    lines = ["", "\\* the lowest setting, which has more recall than the column asks for"]
    for name, peer in all_peers.items():
        short = [point["core_share"] for point in peer.get("points", []) if _lacks_core(point)]
        if short and peer["in_process"]:
            lines += [
                "",
                f"**{name} is shown too slow**: other programs had part of its core at "
                f"{len(short)} of {len(peer['points'])} points; it had {min(short):.2f} at worst. "
                "Repeat the run on a quiet machine before comparing with it.",
            ]
        if "error" in peer:
            lines += ["", f"**{name} did not run**: `{peer['error'].splitlines()[-1]}`"]
        if peer.get("unknown_parameters"):
            words = ", ".join(f"`{words}`" for words in peer["unknown_parameters"])
            lines += ["", f"{name} did not know {words}."]
    return lines


def _lacks_core(point: Mapping[str, Any]) -> bool:
    return bool(point["core_share"] < CORE_SHARE_MIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("results", type=Path, nargs="+", help="results.json; later files replace peers of earlier")
    add("--out", type=Path, required=True, help="folder for results.md and results.png")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(given.results[0].read_text())
    for file in given.results[1:]:
        later = json.loads(file.read_text())
        if later["corpus"] != results["corpus"]:
            parser.error(f"{file} is of another corpus than {given.results[0]}")
        results["peers"].update(later["peers"])
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.md").write_text(markdown(results))
    plot.draw(results, given.out / "results.png")


if __name__ == "__main__":
    main()
