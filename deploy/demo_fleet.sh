#!/usr/bin/env bash
# A simulated lab on one machine: a collector on loopback, virtual Macs with a
# year of history, and the fleet report. All of it lies in a temporary folder
# that goes when this ends, unless LLMENV_DEMO_FLEET names one that stays.
#   LLMENV_DEMO_MACHINES (200), LLMENV_DEMO_DAYS (365), LLMENV_DEMO_RUNS_PER_DAY (one a week), LLMENV_DEMO_SEED (1)
set -euo pipefail
cd "$(dirname "$0")/.."

machines="${LLMENV_DEMO_MACHINES:-200}"
days="${LLMENV_DEMO_DAYS:-365}"
runs_per_day="${LLMENV_DEMO_RUNS_PER_DAY:-0.142857}"
seed="${LLMENV_DEMO_SEED:-1}"
bin="$PWD/.venv/bin"
folder="${LLMENV_DEMO_FLEET:-}"
if [ -z "$folder" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/llmenv-demo-fleet.XXXXXX")
  temporary=$folder
fi
export LLMENV_CONFIG_DIR="$folder/admin" LLMENV_DATA_DIR="$folder/collector"
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost

say() { printf '\n%s\n' "$*" >&2; }

collector=
end() {
  [ -z "$collector" ] || { kill "$collector" 2>/dev/null || true; wait "$collector" 2>/dev/null || true; }
  [ -z "${temporary:-}" ] || rm -rf "$temporary"
}
trap end EXIT

say "1/3  A collector on loopback"
mkdir -p "$folder"
[ -d "$LLMENV_DATA_DIR" ] || "$bin/llmenv-collector" init >"$folder/init.log" 2>&1
rm -f "$LLMENV_DATA_DIR/serving.json"
"$bin/llmenv-collector" serve --listen 127.0.0.1:0 --agents-listen 127.0.0.1:0 2>"$folder/collector.log" &
collector=$!
for _ in $(seq 600); do
  [ -f "$LLMENV_DATA_DIR/serving.json" ] && break
  kill -0 "$collector" 2>/dev/null || { cat "$folder/collector.log" >&2; exit 1; }
  sleep 0.1
done
LLMENV_TOKEN=$("$bin/llmenv-collector" token create --role admin --ttl 30d --label demo) "$bin/llmenv" login

say "2/3  $machines virtual Macs, $days days, $runs_per_day runs a day each"
if [ ! -f "$folder/played" ]; then
  "$bin/llmenv-collector" token create --ttl 1h --count "$machines" |
    "$bin/llmenv-agent" simulate --machines "$machines" --days "$days" --runs-per-day "$runs_per_day" \
      --seed "$seed" --tokens - --state-dir "$folder/machines" --truth "$folder/truth.json" >&2
  touch "$folder/played"
fi

say "3/3  The fleet report"
# 1: it found what fails and what became slower, which was planted; 4: of silent machines nothing can be said.
code=0
"$bin/llmenv" fleet report --since all "$@" || code=$?
[ "$code" -le 1 ] || [ "$code" -eq 4 ] || exit "$code"
[ -n "${temporary:-}" ] || say "What was planted: $folder/truth.json. The store: $LLMENV_DATA_DIR."
