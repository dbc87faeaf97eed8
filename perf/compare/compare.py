#!/usr/bin/env python3
"""Recall and latency of Engram beside its peers: the same vectors and queries, one core each.

Takes a folder with `vectors_f16.npy`, runs one peer after the other, and leaves `results.json`,
`results.md` and `results.png` in a folder of its own. README.md says how to read them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import peers
import plot
import report
from corpus import QUERIES, VECTORS, Choice, Corpus, prepare
from worker import Job

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
TARGET = REPOSITORY / "target"

# Words to add to EG.RECALL; what a daemon does not know is skipped and named in the results.
ENGRAM_RECALLS = (
    ["", "EXACT"]
    + [f"BEAM {beam}" for beam in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)]
    + [f"TARGET {target}" for target in (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)]
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help=f"folder with {VECTORS}")
    add("--out", type=Path, default=TARGET / "compare", help="where the results go")
    add("--work", type=Path, help="where indexes are made, on a disk; a temporary folder")
    add("--peers", default=",".join(peers.NAMES), help="names, separated by commas")
    add("--base", type=int, help="search only so many vectors")
    add("--queries", type=int, default=1000, help="how many are held out and asked")
    add("--ask", choices=QUERIES, default="held-out", help="which queries of grown data")
    add("--seed", type=int, default=1, help="decides which are held out")
    add("--k", type=int, default=10, help="results of a query")
    add("--server-core", type=int, default=0, help="the core of what is measured")
    add("--client-core", type=int, default=1, help="the core of a server's client")
    add("--engramd", type=Path, default=TARGET / "release" / "engramd")
    add(
        "--engram-recalls",
        default=";".join(ENGRAM_RECALLS),
        help="Engram's parameter sets: words to add to its recall, separated by semicolons",
    )
    return check(parser, parser.parse_args())


def check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> argparse.Namespace:
    if not (given.data / VECTORS).exists():
        parser.error(f"{given.data} has no {VECTORS}; README.md says what it is")
    if given.ask != "held-out" and not (given.data / QUERIES[given.ask]).exists():
        parser.error(f"{given.data} has no {QUERIES[given.ask]}; grow.py makes it")
    given.peers = given.peers.split(",")
    unknown = [name for name in given.peers if name not in peers.NAMES]
    if unknown:
        parser.error(f"unknown peers {unknown}; there are {', '.join(peers.NAMES)}")
    if "engram" in given.peers and not given.engramd.exists():
        parser.error(f"{given.engramd} does not exist; `make build` makes it")
    missing = {given.server_core, given.client_core} - os.sched_getaffinity(0)
    if missing or given.server_core == given.client_core:
        parser.error("--server-core and --client-core must be two cores this process may use")
    return given


def run_half(half: str, job: Job) -> dict[str, Any]:
    """A process for one half of a peer's life; its figures, or why there are none."""
    done = subprocess.run(
        [sys.executable, HERE / "worker.py", half],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **machine.ONE_THREAD},
    )
    if done.returncode != 0:
        return {"error": f"{half}: status {done.returncode}: {done.stderr.strip()[-2000:]}"}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def run_peer(name: str, given: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    folder = corpus.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    job = Job(
        peer=name,
        corpus=str(corpus.folder),
        folder=str(folder),
        k=given.k,
        server_core=given.server_core,
        client_core=given.client_core,
        engramd=str(given.engramd.resolve()),
        engram_recalls=given.engram_recalls.split(";"),
    )
    try:
        built = run_half("build", job)
        if "error" in built:
            return built
        return {"build": built, **run_half("serve", job)}
    finally:
        shutil.rmtree(folder)


def commit() -> str:
    """Of the tree this file is in."""
    describe = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "machine": machine.facts(),
        "commit": commit(),
        "command": sys.argv,
        "peers": {},
    }
    with tempfile.TemporaryDirectory(dir=given.work, prefix="compare-") as work:
        # A server that gives up root must be able to reach its folder.
        Path(work).chmod(0o755)
        corpus = prepare(
            given.data, Path(work), Choice(given.base, given.queries, given.ask, given.seed)
        )
        rows, dimensions = corpus.base.shape
        results["corpus"] = {
            "data": str(given.data),
            "vectors": rows,
            "dimensions": dimensions,
            "queries": len(corpus.queries),
            "ask": given.ask,
            "seed": given.seed,
            "k": given.k,
        }
        print(f"{rows} vectors, {dimensions} dimensions, {len(corpus.queries)} queries", flush=True)
        for name in given.peers:
            began = time.monotonic()
            figures = run_peer(name, given, corpus)
            results["peers"][name] = figures
            outcome = figures.get("error", f"{len(figures.get('points', []))} points")
            print(f"{name}: {outcome}, {time.monotonic() - began:.0f} s", flush=True)
    file = given.out / "results.json"
    file.write_text(json.dumps(results, indent=1) + "\n")
    table = report.markdown(results)
    (given.out / "results.md").write_text(table)
    plot.draw(results, given.out / "results.png")
    print(f"\n{table}\n{file}")
    if any("error" in figures for figures in results["peers"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
