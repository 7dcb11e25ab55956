#!/usr/bin/env bash
# The way out to devices, on one machine: release, gateway, three agents, a second version, a broken third one.
# Everything stays below .tinymlops/fleet-demo; the processes end with this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH=.
demo="$PWD/.tinymlops/fleet-demo"
devices=(x86-gateway raspberry-pi-zero-2 raspberry-pi-5)
export TINYMLOPS_STORE="$demo/repository" TINYMLOPS_PRIVATE_STORE="$demo/private" TINYMLOPS_KEYS="$demo/keys"
export TINYMLOPS_DATABASE="sqlite:///$demo/fleet.sqlite" TINYMLOPS_GATEWAY_KEY="$demo/gateway.pem"

started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait' EXIT
title() { printf '\n\033[1;36m%s\033[0m\n' "$*"; }
show() { printf '\033[1m$ %s\033[0m\n' "$*"; "$@"; }
behind() { printf '\033[1m$ %s &\033[0m\n' "$*"; local log="$1"; shift; "$@" >"$log" 2>&1 & started+=($!); }
port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
all() { local joined; printf -v joined '%s,' "${devices[@]}"; echo "${joined%,}"; }

rm -rf "$demo"
mkdir -p "$demo"
title "1. Keys, for development: the real ones are encrypted and never meet on one machine (docs/releases.md)"
show tinymlops keys create --development

title "2. A signed and sealed release of what the build selected (built before, it takes seconds)"
show tinymlops build activity
show tinymlops release activity --devices "$(all)"

title "3. A gateway and three devices, each let in by a one-time code"
show tinymlops gateway init
address="127.0.0.1:$(port)"
behind "$demo/gateway.log" tinymlops gateway --listen "$address" --poll 2
for _ in $(seq 100); do curl -fsS "http://$address/healthz" >/dev/null 2>&1 && break; sleep 0.2; done
for device in "${devices[@]}"; do
  code=$(tinymlops fleet code --profile "$device" --region demo)
  show tinymlops agent enrol "$code" --gateway "http://$address" --profile "$device" --state "$demo/$device"
  behind "$demo/$device.log" tinymlops agent run --state "$demo/$device" --listen "127.0.0.1:$(port)" --trial 2
done

title "4. The release goes out: one device, then half of them, then all"
show tinymlops rollout start activity --poll 1 --silence 60
python infra/fleet-demo/window.py >"$demo/window.json"
for device in "${devices[@]}"; do
  show tinymlops agent predict activity "$demo/window.json" --state "$demo/$device"
done

title "5. A second version: trained with another seed, built, released, rolled out"
show tinymlops build activity --seed 1 --recipes int8 --devices "$(all)" --out "$demo/second"
show tinymlops release activity --devices "$(all)" --why "second version"
show tinymlops rollout start activity --poll 1 --silence 60
show tinymlops fleet list

title "6. A third version that was damaged after it had been tested: it must go back by itself"
show python infra/fleet-demo/damaged_release.py
if show tinymlops rollout start activity --poll 1 --silence 60; then
  echo "The damaged release was not rolled back." >&2
  exit 1
fi
show tinymlops fleet list
for device in "${devices[@]}"; do
  show tinymlops agent predict activity "$demo/window.json" --state "$demo/$device"
done
title "All three devices answer with the second version."
