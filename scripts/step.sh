#!/usr/bin/env bash
# Runs a command under a name and says how long it took: scripts/step.sh NAME COMMAND…
set -euo pipefail

name=$1
shift
started=$SECONDS
status=0
"$@" || status=$?
if [ "$status" -eq 0 ]; then
    printf '== %s: ok, %d s\n' "$name" $((SECONDS - started))
else
    printf '== %s: failed with status %d after %d s: %s\n' \
        "$name" "$status" $((SECONDS - started)) "$*" >&2
fi
exit "$status"
