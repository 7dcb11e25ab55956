#!/bin/sh
# Sees to it that a container engine answers. On Debian and Ubuntu, as root, it is installed and started if need be;
# elsewhere one sentence says what to do. Running it twice does nothing more.
set -u
project=$(cd "$(dirname "$0")/.." && pwd)
state=${TINYMLOPS_STATE:-$project/.tinymlops}
log=$state/dockerd.log
wait_s=60

fail() {
    echo "engine: $1" >&2
    exit 1
}

answers() {
    docker version >/dev/null 2>&1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# mmdebstrap makes the base image where no container registry answers
missing() {
    has dockerd || echo docker.io
    has iptables || echo iptables
    has mmdebstrap || echo mmdebstrap
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
}

install_packages() {
    has apt-get || fail "this is neither Debian nor Ubuntu: install Docker by hand, then run this again"
    [ "$(id -u)" -eq 0 ] || fail "installing $(echo "$1" | tr '\n' ' ')takes root: run 'sudo sh infra/engine.sh'"
    echo "engine: installing $(echo "$1" | tr '\n' ' ')"
    # shellcheck disable=SC2086 # one word a package
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $1; } >>"$log" 2>&1 ||
        fail "the packages could not be installed: $log says why"
}

start() {
    [ "$(id -u)" -eq 0 ] || fail "Docker does not answer: start it ('sudo systemctl start docker') and join its group"
    echo "engine: starting dockerd"
    if [ -d /run/systemd/system ] && has systemctl; then
        systemctl start docker >>"$log" 2>&1
    else
        # A session of its own, so that it outlives this terminal and the Ctrl-C of whoever started this
        setsid dockerd >>"$log" 2>&1 </dev/null &
    fi
}

mkdir -p "$state" || fail "$state can't be written: set TINYMLOPS_STATE to a folder that can"
if has docker && answers; then
    # An engine elsewhere or a ready one needs no package but what makes base images
    has mmdebstrap || [ "$(id -u)" -ne 0 ] || ! has apt-get || install_packages mmdebstrap
    echo "engine: ready"
    exit 0
fi
[ -z "${DOCKER_HOST:-}" ] || fail "DOCKER_HOST is $DOCKER_HOST, and no engine answers there: start it, or unset the variable"
packages=$(missing)
[ -z "$packages" ] || install_packages "$packages"
answers || start
waited=0
until answers; do
    [ "$waited" -lt "$wait_s" ] || fail "dockerd did not answer within $wait_s s: $log says why"
    sleep 1
    waited=$((waited + 1))
done
echo "engine: ready"
