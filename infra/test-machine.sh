#!/bin/sh
# What the full tests need besides Python packages: a container engine, a browser, a data set and PostgreSQL from Debian.
set -eu

missing=""
[ -x /usr/bin/chromium ] || missing="$missing chromium"
[ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests need Debian's packages$missing: install them, then run this again." >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
sh infra/engine.sh
