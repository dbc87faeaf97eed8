#!/usr/bin/env bash
# Races spreading activation: run.sh [options of spreading.py]. Makes what it needs first: a virtual
# environment in target/spreading-venv with the packages of requirements.txt, and engram-spread.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$here/../../..
venv=$repository/target/spreading-venv

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
cargo build --release --quiet -p engram-perf --bin engram-spread \
    --manifest-path "$repository/Cargo.toml"
exec "$venv/bin/python" "$here/spreading.py" "$@"
