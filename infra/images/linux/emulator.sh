#!/bin/sh
# Gathers the emulators, the libraries they load and the instruction counter in /emulator.
set -eu
mkdir -p /emulator/lib
gcc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -o /emulator/count.so /build/plugin.c
for guest in aarch64 arm x86_64; do
    cp "/usr/bin/qemu-$guest" /emulator/
done
# ldd prints "name => path (address)", and the loader itself without an arrow
ldd /usr/bin/qemu-aarch64 /usr/bin/qemu-arm /usr/bin/qemu-x86_64 |
    awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/lib.*ld-linux/ { print $1 }' | sort -u |
    xargs -I '{}' cp -L '{}' /emulator/lib/
