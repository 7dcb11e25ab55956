#!/bin/sh
# `make compose`: secrets, images, containers; waits until all are healthy, then says where they are.
set -eu
cd "$(dirname "$0")/../.."
folder=${TINYMLOPS_STATE:-.tinymlops}/compose
mkdir -p "$folder"
{ .venv/bin/python infra/services/prepare.py && .venv/bin/python infra/services/build.py; } >"$folder/compose.env.new"
mv "$folder/compose.env.new" "$folder/compose.env"
compose="sh infra/services/compose.sh"
began=$(date +%s)
if ! $compose up --detach --wait --wait-timeout 600 --remove-orphans; then
    $compose ps --all
    echo "Not all are healthy: 'sh infra/services/compose.sh logs NAME' says why." >&2
    exit 1
fi
echo "Healthy after $(($(date +%s) - began)) s."
cat <<END
  gateway   http://$($compose port gateway 8700)
  Prefect   http://$($compose port prefect 4200)   the login is in $folder/secrets/prefect_login
  MLflow    http://$($compose port mlflow 5000)
Owner's commands:  sh infra/services/compose.sh run --rm owner tinymlops …
Root keys are in $folder/root-keys: carry them off this machine.
END
