#!/usr/bin/env bash
# Kills the daemon under load again and again and checks everything after each restart.
#
#   scripts/kill-loop.sh [CYCLES]      200 unless given; target/release must be built (make build)
#
# A cycle: engram load stores, replaces, forgets, repeats stores with their keys, creates and drops
# memory spaces, with DUR disk and DUR os, and keeps a journal of what it sent and what came back.
# Between 10 ms and a second after the first change SIGKILL ends the daemon; in every fourth cycle
# the next daemon is killed too, before it serves. Then engram load --verify compares everything
# the daemon has with the journal.
#
# One store lives through CYCLES_PER_STORE cycles, and is checked by engram inspect at its end. The
# first contradiction ends the loop; the store is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CYCLES_PER_STORE=20
readonly START_KILL_EVERY=4
readonly START_SECONDS_MAX=30

cycles=${1:-200}
bin=$PWD/target/release
folder=$(mktemp -d "${TMPDIR:-/tmp}/engram-kill-loop.XXXXXX")
export ENGRAM_SOCKET=$folder/engramd.sock
daemon=
load=
recoveries=$folder/recoveries_us
declare -A total=()
killed_in_start=0
torn_tails=0
stores=0

finish() {
    local status=$?
    for process in $load $daemon; do
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    if [ "$status" -eq 0 ] || [ "$status" -ge 128 ]; then
        rm -rf "$folder"
        return
    fi
    printf 'The store is kept in %s; to look at it:\n' "$folder" >&2
    printf '  %s inspect %s verify --deep\n' "$bin/engram" "$folder/data" >&2
    printf '  less %s %s\n' "$folder/journal" "$folder/log" >&2
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    printf 'kill-loop, cycle %s: %s\n' "$cycle" "$1" >&2
    exit 1
}

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }

# Sleeps for a random time between two bounds in milliseconds.
sleep_between() {
    local ms=$(($1 + RANDOM % ($2 - $1 + 1)))
    sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
}

spawn() {
    "$bin/engramd" --data "$folder/data" --socket "$ENGRAM_SOCKET" --shards 2 \
        --set memory_prefault_bytes=0 --set crash_loop_starts=0 >>"$folder/log" 2>&1 &
    daemon=$!
}

kill_daemon() {
    kill -KILL "$daemon" 2>/dev/null || fail "engramd had ended: $(tail -n 3 "$folder/log")"
    wait "$daemon" 2>/dev/null || true
    daemon=
}

# Starts the daemon and waits until it serves.
start() {
    local began
    began=$(now_us)
    spawn
    until "$bin/engram" space list >/dev/null 2>&1; do
        kill -0 "$daemon" 2>/dev/null || fail "engramd did not start: $(tail -n 3 "$folder/log")"
        [ $(($(now_us) - began)) -lt $((START_SECONDS_MAX * 1000000)) ] ||
            fail "engramd does not serve after $START_SECONDS_MAX s"
        sleep 0.005
    done
    started_in_us=$(($(now_us) - began))
    echo "$started_in_us" >>"$recoveries"
}

# A figure of a verification.
figure() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" <<<"$verdict"; }

readonly ACKNOWLEDGED=(created replaced forgotten existing spaces_created spaces_dropped)
readonly VIOLATIONS=(missing altered resurrected invented wrong_answers)

# Adds what happened to a store to the totals, and throws the store away.
close_store() {
    kill "$daemon"
    wait "$daemon" || fail "engramd did not stop cleanly: $(tail -n 3 "$folder/log")"
    daemon=
    "$bin/engram" inspect "$folder/data" verify --deep >"$folder/inspected" 2>&1 ||
        fail "$(cat "$folder/inspected")"
    for name in "${ACKNOWLEDGED[@]}" unanswered refused "${VIOLATIONS[@]}"; do
        total[$name]=$((${total[$name]:-0} + $(figure "$name")))
    done
    torn_tails=$((torn_tails + $(grep -c 'cut a torn tail' "$folder/log" || true)))
    stores=$((stores + 1))
    rm -rf "$folder/data" "$folder/journal" "$folder/log"
}

run_cycle() {
    "$bin/engram" load --journal "$folder/journal" --seed "$cycle" --dimensions 64 \
        --connections 6 --window $((1 + RANDOM % 32)) --seconds 60 >"$folder/load" 2>&1 &
    load=$!
    local before=${bytes:-0}
    until bytes=$(stat -c %s "$folder/journal" 2>/dev/null) && [ "$bytes" -gt "$before" ]; do
        kill -0 "$load" 2>/dev/null || fail "the load did not begin: $(cat "$folder/load")"
        sleep 0.002
    done
    sleep_between 10 1000
    kill_daemon
    # 3: it lost its daemon, as it should.
    local status=0
    wait "$load" || status=$?
    load=
    [ "$status" -eq 3 ] || fail "the load ended with $status: $(cat "$folder/load")"
    if [ $((cycle % START_KILL_EVERY)) -eq 0 ]; then
        spawn
        sleep_between 1 $((started_in_us / 1000))
        kill_daemon
        killed_in_start=$((killed_in_start + 1))
    fi
    start
    verdict=$("$bin/engram" --json load --verify "$folder/journal" 2>"$folder/verdict") ||
        fail "$(cat "$folder/verdict")"
    bytes=$(stat -c %s "$folder/journal")
    printf 'cycle %d: %d episodes and spaces checked, %d of them settled\n' \
        "$cycle" "$(figure checked)" "$(figure settled)"
}

for cycle in $(seq "$cycles"); do
    if [ -z "$daemon" ]; then
        bytes=0
        start
    fi
    run_cycle
    [ $((cycle % CYCLES_PER_STORE)) -ne 0 ] || close_store
done
[ -z "$daemon" ] || close_store

row() { printf '%-28s %12s\n' "$1" "$2"; }
sort -n -o "$recoveries" "$recoveries"
recovered=$(wc -l <"$recoveries")
ms() { sed -n "${1}p" "$recoveries" | awk '{ printf "%.0f ms", $1 / 1000 }'; }
printf '\n'
row 'cycles' "$cycles"
row 'stores' "$stores"
row 'killed before serving, too' "$killed_in_start"
for name in "${ACKNOWLEDGED[@]}"; do row "acknowledged: ${name//_/ }" "${total[$name]}"; done
row 'under way at a kill' "${total[unanswered]}"
row 'refused' "${total[refused]}"
row 'torn tails cut' "$torn_tails"
row 'start to serving, median' "$(ms $(((recovered + 1) / 2)))"
row 'start to serving, maximum' "$(ms "$recovered")"
for name in "${VIOLATIONS[@]}"; do row "${name//_/ }" "${total[$name]}"; done
