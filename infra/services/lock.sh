#!/bin/sh
# The lock files of the images: parts of requirements/all.txt, version by version and digest by digest.
set -eu
cd "$(dirname "$0")/../.."
lock() {
    name=$1
    shift
    rm -f "requirements/$name.txt"
    .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 \
        --constraint requirements/all.txt "$@" pyproject.toml -o "requirements/$name.txt"
}
gateway="--extra gateway --extra mqtt"
server="$gateway --extra server --extra drift"
# shellcheck disable=SC2086 # lists of options
{
    lock gateway $gateway
    lock server $server
    lock worker $server --extra train --extra microcontroller
}
