#!/bin/sh
# One server with a database and a role of the same name for each of $DATABASES; their passwords are in /run/secrets.
# At every start the passwords are set as the secrets say, so that exchanging one is: change the file, restart.
set -eu
socket=/tmp
umask 077

# PostgreSQL wants its user to have a name, also where the container runs as somebody of the host
if ! id -un >/dev/null 2>&1; then
    echo "tinymlops:x:$(id -u):$(id -g)::/tmp:/usr/sbin/nologin" >/tmp/passwd
    echo "tinymlops:x:$(id -g):" >/tmp/group
    NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/tmp/group LD_PRELOAD=$(ls /usr/lib/*/libnss_wrapper.so)
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Under another name first: killed in the middle, the next start begins anew
    rm -rf "$PGDATA.new"
    initdb --pgdata "$PGDATA.new" --username postgres --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 --data-checksums >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
    sync
    mv "$PGDATA.new" "$PGDATA"
fi

# Reachable by its socket alone until every role has its password
pg_ctl --pgdata "$PGDATA" --silent --wait --options "-c listen_addresses='' -c unix_socket_directories=$socket" start
for name in $DATABASES; do
    password=$(cat "/run/secrets/postgresql_$name")
    psql --host "$socket" --username postgres --quiet --set ON_ERROR_STOP=1 --set name="$name" --set password="$password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
pg_ctl --pgdata "$PGDATA" --silent --wait --mode fast stop

exec postgres -c listen_addresses='*' -c unix_socket_directories="$socket" -c max_connections=100 \
    -c shared_buffers=128MB -c log_connections=off "$@"
