#!/bin/sh
# What the full tests need besides Python packages: a container engine, a browser, a data set, PostgreSQL, systemd's
# checker, a software TPM, an MQTT broker, and the compilers that exported C is tried with. (Devices are measured with those of their own image.)
set -eu

missing=""
[ -x /usr/bin/chromium ] || missing="$missing chromium"
[ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
command -v swtpm >/dev/null || missing="$missing swtpm"
[ -f /usr/include/tss2/tss2_esys.h ] || missing="$missing libtss2-dev pkg-config"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -x /usr/bin/gcc ] && [ -e /usr/include/stdio.h ] || missing="$missing gcc libc6-dev"
[ -x /usr/bin/cmake ] || missing="$missing cmake make"
[ -x /usr/bin/arm-none-eabi-gcc ] || missing="$missing gcc-arm-none-eabi"
[ -d /usr/lib/arm-none-eabi/newlib ] || missing="$missing libnewlib-arm-none-eabi"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests need Debian's packages$missing: install them, then run this again." >&2
        exit 1
    fi
    # The tests start a PostgreSQL of their own: the package need not make and start one for the whole machine.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
sh infra/engine.sh
[ ! -x .venv/bin/uv ] || .venv/bin/uv pip install --quiet --require-hashes --no-deps -r requirements/tpm.txt
