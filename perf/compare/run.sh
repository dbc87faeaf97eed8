#!/usr/bin/env bash
# Compares Engram with its peers: run.sh DATA [options of compare.py]. Makes what it needs first:
# a virtual environment in target/compare-venv with the packages of requirements.txt, and engramd.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$here/../..
venv=$repository/target/compare-venv
data=${1:-}
shift || true

if [ ! -f "$data/vectors_f16.npy" ]; then
    cat >&2 <<HELP
usage: make compare DATA=folder [ARGS="options"]

The folder has vectors_f16.npy: rows of unit length, float16. If it has queries_f16.npy too, these
are the queries; otherwise some rows are held out. Options: $here/compare.py --help;
what the figures mean: perf/compare/README.md.
HELP
    exit 2
fi

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
cargo build --release --quiet -p engramd --manifest-path "$repository/Cargo.toml"
exec "$venv/bin/python" "$here/compare.py" --data "$data" "$@"
