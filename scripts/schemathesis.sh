#!/usr/bin/env bash
# Asks a daemon of its own over HTTP whatever its description allows, and what it does not:
# scripts/schemathesis.sh [SECONDS] [ARGUMENTS…]
#
# Schemathesis (PyPI) makes requests from /v1/openapi.json: every path, good and bad arguments, and
# chains of requests that belong together. A server error, an answer that the description does not
# know, and an answer of another shape are failures, and so is a daemon that is not there in the
# end. Not asked for: snapshots, which write where a path says, and watches, which do not
# end by themselves. It takes target/debug/engramd, or the one that ENGRAMD names.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-120}
[ $# -eq 0 ] || shift
engramd=${ENGRAMD:-target/debug/engramd}
[ -x "$engramd" ] || { echo "there is no $engramd; cargo build -p engramd" >&2; exit 2; }
tool=$(command -v st || true)
if [ -z "$tool" ]; then
    tool=target/schemathesis/bin/st
    [ -x "$tool" ] || {
        python3 -m venv target/schemathesis
        target/schemathesis/bin/pip --quiet install schemathesis==4.32.5
    }
fi

home=$(mktemp -d)
daemon=
end() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    rm -rf "$home"
}
trap end EXIT

port=${PORT:-7711}
token=$(head -c 24 /dev/urandom | base64 | tr -dc A-Za-z0-9)
(umask 077 && echo "$token" >"$home/token")
"$engramd" --data "$home/data" --socket "$home/socket" --shards 2 --set memory_bytes_max=512MiB \
    --set "edge_listen=127.0.0.1:$port" --set "edge_token_file=$home/token" \
    2>"$home/log" &
daemon=$!
for _ in $(seq 100); do
    ready=$(curl --silent --output /dev/null --write-out '%{http_code}' \
        "http://127.0.0.1:$port/readyz" || true)
    [ "$ready" = 200 ] && break
    sleep 0.1
done
[ "$ready" = 200 ] || { cat "$home/log" >&2; exit 1; }

status=0
"$tool" run "http://127.0.0.1:$port/v1/openapi.json" --header "Authorization: Bearer $token" \
    --max-time "$seconds" --phases examples,coverage,fuzzing,stateful --generation-database none \
    --checks not_a_server_error,response_schema_conformance,content_type_conformance \
    --exclude-path /v1/watch --exclude-path /v1/snapshots \
    --request-timeout 20 --continue-on-failure --no-color "$@" || status=$?
kill -0 "$daemon" || { echo "the daemon is gone" >&2; cat "$home/log" >&2; exit 1; }
grep -c WARN "$home/log" | sed 's/^/warnings in the daemon'"'"'s log: /' || true
exit "$status"
