#!/bin/sh
# What the full tests need besides Python packages: a container engine, a browser, a data set, PostgreSQL and a software TPM from Debian.
set -eu

missing=""
[ -x /usr/bin/chromium ] || missing="$missing chromium"
[ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
command -v swtpm >/dev/null || missing="$missing swtpm"
[ -f /usr/include/tss2/tss2_esys.h ] || missing="$missing libtss2-dev pkg-config gcc libc6-dev"
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
[ ! -x .venv/bin/uv ] || .venv/bin/uv pip install --quiet --require-hashes --no-deps -r requirements/tpm.txt
