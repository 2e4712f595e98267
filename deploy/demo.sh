#!/usr/bin/env bash
# The main job on one machine: a collector, an enrolled agent, one run of the
# quick suite in a training environment, and the fleet report. Everything it
# makes lies in .demo (LLMENV_DEMO), so that it can be run again and thrown away.
set -euo pipefail
cd "$(dirname "$0")/.."

folder="${LLMENV_DEMO:-$PWD/.demo}"
bin="$PWD/.venv/bin"
target="${LLMENV_TRAINING_PYTHON:-$PWD/.venv-train/bin/python}"
export LLMENV_CONFIG_DIR="$folder/admin" LLMENV_STATE_DIR="$folder/agent" LLMENV_DATA_DIR="$folder/collector"
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] || say() { printf '\n%s\n' "$*" >&2; }

# Free ports, chosen once: agent and admin remember the addresses.
choose_ports() {
  "$bin/python" -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*[s.getsockname()[1] for s in sockets])' >"$folder/ports"
}

start_collector() {
  rm -f "$LLMENV_DATA_DIR/serving.json"
  "$bin/llmenv-collector" serve --listen "127.0.0.1:$people_port" --agents-listen "127.0.0.1:$agents_port" \
    2>"$folder/collector.log" &
  collector=$!
  trap 'kill "$collector" 2>/dev/null || true; wait "$collector" 2>/dev/null || true' EXIT
  for _ in $(seq 600); do
    [ -f "$LLMENV_DATA_DIR/serving.json" ] && return
    kill -0 "$collector" 2>/dev/null || break
    sleep 0.1
  done
  echo "The collector did not start; it said:" >&2
  cat "$folder/collector.log" >&2
  exit 1
}

mkdir -p "$folder"
[ -f "$folder/ports" ] || choose_ports
read -r people_port agents_port <"$folder/ports"

say "1/4  A collector with its own certificate authority and one DuckDB file"
[ -d "$LLMENV_DATA_DIR" ] || "$bin/llmenv-collector" init >"$folder/init.log" 2>&1
start_collector

say "2/4  This machine enrols with a one-time token"
if [ ! -f "$folder/enrolled" ]; then
  LLMENV_TOKEN=$("$bin/llmenv-collector" token create --ttl 15m) "$bin/llmenv-agent" enroll
  LLMENV_TOKEN=$("$bin/llmenv-collector" token create --role admin --ttl 30d --label demo) "$bin/llmenv" login
  touch "$folder/enrolled"
fi

say "3/4  The quick suite runs in $target; results stream over mutual TLS"
cat >"$folder/agent.toml" <<TOML
[[target]]
name = "training"
python = "$target"
TOML
"$bin/llmenv-agent" run --config "$folder/agent.toml" --once

say "4/4  The fleet report"
code=0
"$bin/llmenv" fleet report || code=$?
# 1 says that a check fails, 4 that something could not be said yet: the demo has shown what it shows.
case $code in 0 | 1 | 4) ;; *) exit "$code" ;; esac

say "The data is in $folder; the store is $LLMENV_DATA_DIR."
cat >&2 <<WORDS
Ask again (start the collector first; the demo stops its own):
  export LLMENV_CONFIG_DIR=$LLMENV_CONFIG_DIR LLMENV_DATA_DIR=$LLMENV_DATA_DIR
  $bin/llmenv-collector serve --listen 127.0.0.1:$people_port --agents-listen 127.0.0.1:$agents_port &
  $bin/llmenv run list
  $bin/llmenv run show RUN --format md --lang zh
  $bin/llmenv sql 'SELECT * FROM v1.measurements'
WORDS
