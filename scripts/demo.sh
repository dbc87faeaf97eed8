#!/usr/bin/env bash
# The demo: import real episodes, recall, kill the daemon in mid-import, find everything again.
# Runs on a data directory of its own, which is gone afterwards. Fails if anything it shows fails.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly COPIES=40
readonly KILL_AFTER=20000

scripts/step.sh build cargo build --release --quiet --bins -p engramd -p engram-tools
PATH="$PWD/target/release:$PATH"

work=$(mktemp -d "${TMPDIR:-/tmp}/engram-demo.XXXXXX")
export ENGRAM_SOCKET="$work/engramd.sock"
daemon=
import=

cleanup() {
    local status=$?
    for process in $import $daemon; do
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    # 130 and 143: someone asked for the end, nothing failed.
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ] && [ -s "$work/engramd.log" ]; then
        printf '\nThe demo failed. The end of the log of engramd:\n' >&2
        tail -n 20 "$work/engramd.log" >&2
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s\n' "$1"; }
# Shows a command as one would type it, and runs it.
run() {
    printf '%s$ %s%s\n' "$dim" "${*@Q}" "$plain" | sed "s/'\([A-Za-z0-9_./:=-]*\)'/\1/g"
    "$@"
}
fail() { printf 'demo: %s\n' "$1" >&2; exit 1; }

start_daemon() {
    local started=${EPOCHREALTIME/[.,]/}
    engramd --data "$work/data" --socket "$ENGRAM_SOCKET" --shards 2 >>"$work/engramd.log" 2>&1 &
    daemon=$!
    until engram space list >/dev/null 2>&1; do
        kill -0 "$daemon" 2>/dev/null || fail 'engramd did not start'
        sleep 0.02
    done
    say "engramd answers after $(((${EPOCHREALTIME/[.,]/} - started) / 1000)) ms (2 shards)."
}

acknowledged() { wc -l <"$work/acked"; }

title 'A daemon and 2,700 real episodes'
start_daemon
run engram import wordnet --create --normalize \
    --episodes demo/wordnet.jsonl --vectors demo/wordnet.npy

title 'What comes to mind at "wine"?'
run engram recall wordnet --id wine.n -k 6

title 'Which of them answer a question in words?'
run engram recall wordnet --text 'What is drunk from grapes?' -k 5

title 'At "fear", among verbs only?'
run engram recall wordnet --id fear.n -k 5 --filter '{"pos":"verb"}'

title 'At "dog", of what was read on the first morning of the year?'
run engram recall wordnet --id dog.n -k 5 --since 2026-01-01T06:00:00Z --until 2026-01-01T12:00:00Z

title 'What is associated with "wine", by which links?'
run engram spread wordnet --from wine.n -k 6 --why

title 'SIGKILL in mid-import'
# The sample again and again under other ids, links included; each line names its row.
for ((copy = 1; copy <= COPIES; copy++)); do
    awk -v copy="$copy" '{
        gsub(/"id":"/, "&copy-" copy "/")
        print "{\"row\":" NR - 1 "," substr($0, 2)
    }' demo/wordnet.jsonl
done >"$work/many.jsonl"
many=$(wc -l <"$work/many.jsonl")
import_many=(engram import many --create --normalize --episodes "$work/many.jsonl"
    --vectors demo/wordnet.npy --acked-log "$work/acked" --patience-seconds 0)
say "Importing $many episodes; every id is noted when its acknowledgement arrives."
: >"$work/acked"
"${import_many[@]}" >"$work/import.out" 2>"$work/import.err" &
import=$!
until [ "$(acknowledged)" -ge "$KILL_AFTER" ]; do
    kill -0 "$import" 2>/dev/null || fail "the import ended early: $(cat "$work/import.err")"
    sleep 0.01
done
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
daemon=
status=0
wait "$import" || status=$?
import=
[ "$status" -eq 3 ] || fail "the import should have lost its daemon (3), it ended with $status"
before=$(acknowledged)
[ "$before" -lt "$many" ] || fail 'the import was over before the kill'
say "Killed engramd with $before episodes acknowledged. The import says:"
sed 's/^/  /' "$work/import.err"

start_daemon
say 'Is everything there that was acknowledged?'
run engram load --space many --verify "$work/acked"

title 'The import goes on where it stopped'
run "${import_many[@]}" --resume
run engram load --space many --verify "$work/acked"
[ "$(sort -u "$work/acked" | wc -l)" -eq "$many" ] || fail 'ids are missing after the import'
engram space list

title 'Latency at 5,000 requests per second, one in fifty a recall'
run engram load --create --workload mixed --recall-share 0.02 --rate 5000 --burst-us 500 \
    --seconds 4 --vectors demo/wordnet.npy >"$work/load.out"
sed '/own figures since it started/,$d' "$work/load.out"

title 'What to type next'
cat <<'TEXT'
  export PATH="$PWD/target/release:$PATH" ENGRAM_SOCKET="$PWD/engram.sock"
  engramd --data engram-data --socket "$ENGRAM_SOCKET" &
  engram import wordnet --create --normalize \
      --episodes demo/wordnet.jsonl --vectors demo/wordnet.npy
  engram recall wordnet --id coffee.n --with text,links
  engram stats
  engram --help
TEXT
