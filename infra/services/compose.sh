#!/bin/sh
# Docker Compose with the images and secrets of `make compose`: sh infra/services/compose.sh ps, logs, exec, down …
set -eu
cd "$(dirname "$0")/../.."
settings=${TINYMLOPS_STATE:-.tinymlops}/compose/compose.env
[ -e "$settings" ] || { echo "There is no $settings: run 'make compose' first." >&2; exit 1; }
exec .venv/bin/docker-compose --env-file "$settings" --file infra/compose.yaml "$@"
