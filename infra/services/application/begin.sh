#!/bin/sh
# What an owner does once: the gateway's key, the signing keys, the signed repository that they begin.
# Root keys go to a folder of their own, which belongs off this machine. Running it again changes nothing.
set -eu
umask 077
[ -e "$TINYMLOPS_GATEWAY_KEY" ] || tinymlops gateway init
if [ ! -e "$TINYMLOPS_KEYS" ]; then
    new=$TINYMLOPS_KEYS.new
    # Killed between keys and repository: those keys signed nothing, and are put aside, not deleted
    if [ -e "$new" ] && ! tinymlops keys check --keys "$new" >/dev/null 2>&1; then
        mv "$new" "$new.$(date +%s)"
    fi
    [ -e "$new" ] || tinymlops keys create --keys "$new"
    mv "$new" "$TINYMLOPS_KEYS"
fi
for key in "$TINYMLOPS_KEYS"/offline/root-*; do
    [ ! -e "$key" ] || { cp -p "$key" /root-keys/ && rm "$key"; }
done
tinymlops keys check
