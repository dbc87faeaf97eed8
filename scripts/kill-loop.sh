#!/usr/bin/env bash
# Kills the daemon under load again and again and checks every acknowledgement after each restart.
#
#   scripts/kill-loop.sh [CYCLES]      50 unless given; target/release must be built (make build)
#
# Each cycle stores through 8 connections, notes every id whose acknowledgement arrived, sends
# SIGKILL at a random moment, starts the daemon again and asks for every id of all cycles so far:
# each must be there, with the text it was stored with.
set -euo pipefail
cd "$(dirname "$0")/.."

cycles=${1:-50}
bin=$PWD/target/release
folder=$(mktemp -d /tmp/engram-kill-loop.XXXXXX)
socket=$folder/engramd.sock
acked=$folder/acked
daemon=

finish() {
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

start() {
    "$bin/engramd" --data "$folder/data" --socket "$socket" --shards 2 \
        --set memory_prefault_bytes=0 --set crash_loop_starts=0 2>>"$folder/log" &
    daemon=$!
    for _ in $(seq 200); do
        "$bin/engram" --socket "$socket" space list >/dev/null 2>&1 && return
        sleep 0.05
    done
    echo "engramd does not answer:" >&2
    tail -5 "$folder/log" >&2
    exit 1
}

start
next_id=0
for cycle in $(seq "$cycles"); do
    "$bin/engram" --socket "$socket" load --create --dimensions 64 --ids sequential \
        --first-id "$next_id" --connections 8 --window 32 --warmup-seconds 0 --seconds 20 \
        --acked-log "$acked.$cycle" >/dev/null 2>&1 &
    load=$!
    sleep "0.$((RANDOM % 7 + 2))"
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null || true
    wait "$load" || true
    cat "$acked.$cycle" >>"$acked"
    next_id=$((next_id + 10000000))
    start
    if ! verdict=$("$bin/engram" --socket "$socket" load --verify "$acked.$cycle" 2>&1); then
        echo "cycle $cycle: $verdict" >&2
        exit 1
    fi
    printf 'cycle %d: %s\n' "$cycle" "$verdict"
done
echo "all cycles together:"
"$bin/engram" --socket "$socket" load --verify "$acked"
grep -c "torn tail" "$folder/log" | sed 's/^/torn tails cut: /' || true
