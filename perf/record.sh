#!/usr/bin/env bash
# Runs a command and keeps its output with what one must know to read it:
# perf/record.sh NAME COMMAND… writes perf/baselines/NAME.txt.
set -euo pipefail

cd "$(dirname "$0")/.."
name=$1
shift
file=perf/baselines/$name.txt
mkdir -p perf/baselines
{
    echo "date:    $(date -u '+%Y-%m-%d %H:%M') UTC"
    echo "cpu:     $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) allowed"
    echo "kernel:  $(uname -sr)"
    echo "commit:  $(git describe --always --dirty)"
    echo "load:    $(cut -d' ' -f1-3 /proc/loadavg) before the run"
    echo "command: $*"
    echo
    "$@"
} >"$file.new"
mv "$file.new" "$file"
echo "$file"
