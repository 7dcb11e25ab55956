#!/bin/sh
# The broker, with its two users' passwords out of /run/secrets: devices publish, the bridge reads.
set -eu
umask 077
printf 'devices:%s\nbridge:%s\n' "$(cat /run/secrets/mqtt_devices)" "$(cat /run/secrets/mqtt_bridge)" >/tmp/passwords
mosquitto_passwd -U /tmp/passwords
exec mosquitto -c /usr/local/share/tinymlops/mosquitto.conf
