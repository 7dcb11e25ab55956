#!/usr/bin/env bash
# SeaweedFS on the loopback, and socat that passes the S3 port on. If one of the two ends, so does the container.
set -euo pipefail
export GOMEMLIMIT=${GOMEMLIMIT:-512MiB}
trap 'kill -TERM $(jobs -p) 2>/dev/null || true' TERM INT

# By default it makes buckets that do not exist, shows pages, speaks table formats, and reports to its makers.
weed mini -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.port=8334 -s3.config=/run/secrets/s3_identities \
    -bucket="$BUCKETS" -s3.autoCreateBucket=false -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false \
    -admin.ui=false -master.telemetry=false -filer.localSocket=/tmp/filer.sock -s3.localSocket=/tmp/s3.sock &
socat TCP-LISTEN:8333,fork,reuseaddr,nodelay TCP:127.0.0.1:8334,nodelay &
wait -n || true
kill -TERM $(jobs -p) 2>/dev/null || true
wait
