#!/bin/sh
# Runs while the image is built. Every package is checked against its digest and byte-compiled (TensorFlow: 4 s instead of 32 s).
set -eu
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1

if ! command -v python3.11 >/dev/null; then
    apt-get update -q
    apt-get install -y -q --no-install-recommends ca-certificates python3.11 python3.11-venv
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
fi
if [ ! -x /opt/venv/bin/python ]; then
    python3.11 -m venv --without-pip /opt/venv
    echo 'tinymlops:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd
fi
chmod 755 /usr/local/bin/with-secrets /usr/local/bin/answers

source=""
[ -z "${WHEELS:-}" ] || source="--no-index --find-links $WHEELS"
python3.11 -m venv /tmp/tools
# shellcheck disable=SC2086 # two options
/tmp/tools/bin/pip install --quiet $source --require-hashes -r /build/uv.txt
# shellcheck disable=SC2086
/tmp/tools/bin/uv pip install --quiet --python /opt/venv/bin/python $source --require-hashes -r /build/packages.txt
rm -rf /tmp/tools
