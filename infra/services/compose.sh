#!/bin/sh
# Docker Compose with the images and secrets of `make compose`: sh infra/services/compose.sh ps, logs, exec, down …
# Settings of your own (ports, workloads: docs/deployment.md) go into own.env beside compose.env.
set -eu
cd "$(dirname "$0")/../.."
folder=${TINYMLOPS_STATE:-.tinymlops}/compose
[ -e "$folder/compose.env" ] || { echo "There is no $folder/compose.env: run 'make compose' first." >&2; exit 1; }
[ -e "$folder/own.env" ] || : >"$folder/own.env"
exec .venv/bin/docker-compose --env-file "$folder/compose.env" --env-file "$folder/own.env" --file infra/compose.yaml "$@"
