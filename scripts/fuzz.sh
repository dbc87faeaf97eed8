#!/usr/bin/env bash
# Fuzzes one target for a while: scripts/fuzz.sh TARGET [SECONDS]
#
# With a nightly toolchain and cargo-fuzz, libFuzzer does it, guided by coverage: what it finds goes to
# target/libfuzzer-corpus/TARGET, an input that fails to fuzz/libfuzzer/artifacts/TARGET. To keep what
# is worth keeping, see fuzz/README.md. Without them the runner of fuzz/ mutates the stored corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?usage: scripts/fuzz.sh TARGET [SECONDS]}
seconds=${2:-60}
targets=$(cd fuzz/libfuzzer/fuzz_targets && ls | sed 's/\.rs$//' | paste -sd ' ')
if [ ! -e "fuzz/libfuzzer/fuzz_targets/$target.rs" ]; then
    echo "there is no target '$target'; there are: $targets" >&2
    exit 2
fi

missing=
cargo +nightly --version >/dev/null 2>&1 ||
    missing="a nightly toolchain (rustup toolchain install nightly)"
cargo fuzz --version >/dev/null 2>&1 ||
    missing="${missing:+$missing and }cargo-fuzz (cargo install cargo-fuzz)"
if [ -n "$missing" ]; then
    echo "no libFuzzer, for want of $missing: mutating the corpus without coverage"
    seed=$(date +%s)
    exec cargo run --quiet -p engram-fuzz -- "$target" --seconds "$seconds" --seed "$seed"
fi

# The versions of everything that the workspace builds with.
cp Cargo.lock fuzz/libfuzzer/Cargo.lock
found=target/libfuzzer-corpus/$target
mkdir -p "$found"
# Without leak detection: a daemon's statics live as long as it does.
exec cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer --target-dir target/libfuzzer "$target" \
    "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=8192 -timeout=20 \
    -rss_limit_mb=4096 -malloc_limit_mb=512 -detect_leaks=0 -print_final_stats=1
