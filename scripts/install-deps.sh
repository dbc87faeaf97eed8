#!/usr/bin/env bash
# Makes sure that the build finds what it needs outside of Cargo. Missing Debian packages are
# installed when this may be done without asking for a password; otherwise the exact command is
# named. Nothing is touched when nothing is missing. With --browser a Chromium is installed as well,
# if that is possible; the tests of the dashboard are skipped where there is none.
set -euo pipefail

CARGO=${CARGO:-cargo}

if ! command -v "$CARGO" >/dev/null; then
    cat >&2 <<'TEXT'
cargo is missing. Install Rust 1.89 or newer, then open a new shell:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
TEXT
    exit 1
fi

# The names of the missing packages on one line. The runtime's bundled liburing is compiled with cc and looks for git while it is built; hwloc
# is found by pkg-config and links udev.
missing_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v git >/dev/null || missing+=(git)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists hwloc 2>/dev/null || missing+=(libhwloc-dev)
    pkg-config --exists libudev 2>/dev/null || missing+=(libudev-dev)
    echo "${missing[*]}"
}

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    as_root=()
    allowed=no
fi

# Never fails: nothing but some tests needs a browser.
install_browser() {
    local name
    for name in chromium chromium-browser google-chrome headless-shell; do
        ! "$name" --version >/dev/null 2>&1 || return 0
    done
    if command -v apt-get >/dev/null && [ "${allowed:-yes}" = yes ]; then
        echo "installing chromium for the tests of the dashboard"
        export DEBIAN_FRONTEND=noninteractive
        if "${as_root[@]}" apt-get update -qq &&
            "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium; then
            return 0
        fi
    fi
    echo "there is no chromium: the tests of the dashboard in a browser will be skipped" >&2
}

[ "${1:-}" != --browser ] || install_browser
missing=$(missing_packages)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null || [ "${allowed:-yes}" = no ]; then
    cat >&2 <<TEXT
These system packages (Debian's names) are missing: $missing
On Debian and Ubuntu install them with:
    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing
Without hwloc and udev the daemon builds too, for machines with one memory node:
    cargo build --release --no-default-features -p engramd -p engram-tools
TEXT
    exit 1
fi

echo "installing missing system packages: $missing"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
# shellcheck disable=SC2086 # the names are separate arguments
"${as_root[@]}" apt-get install -y -qq --no-install-recommends $missing

still_missing=$(missing_packages)
if [ -n "$still_missing" ]; then
    echo "apt installed what it has, yet these are still not found: $still_missing" >&2
    exit 1
fi
