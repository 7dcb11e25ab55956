#!/bin/sh
# Lays the system's part of the image in /root-of-image: Debian packages, unpacked and thinned out.
set -eu
apt-get update -q
apt-get install -y -q --no-install-recommends libpython3-stdlib python3-minimal ca-certificates
mkdir -p /packages/partial /root-of-image
# What the packages need is there already; asking for all by name downloads them once more, as files
apt-get install -y -q --download-only --reinstall --no-install-recommends -o Dir::Cache::Archives=/packages \
    ca-certificates libbz2-1.0 libc6 libcrypt1 libdb5.3 libexpat1 libffi8 libgcc-s1 liblzma5 libncursesw6 libnsl2 \
    libpython3-stdlib libpython3.11-minimal libpython3.11-stdlib libreadline8 libsqlite3-0 libssl3 libstdc++6 libtinfo6 \
    libtirpc3 libuuid1 python3-minimal python3.11-minimal zlib1g
for package in /packages/*.deb; do
    dpkg-deb -x "$package" /root-of-image
done
cd /root-of-image
mkdir -p etc/ssl/certs tmp
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
echo 'agent:x:10001:10001::/var/lib/tinymlops-agent:/usr/sbin/nologin' >etc/passwd
# Nothing of this is ever loaded by the agent
rm -rf usr/share usr/include var/cache usr/lib/*/perl* usr/lib/*/gconv usr/lib/python3 usr/sbin sbin bin/* \
    usr/lib/python3.11/lib2to3 usr/lib/python3.11/idlelib usr/lib/python3.11/turtledemo usr/lib/python3.11/test \
    usr/lib/python3.11/unittest/test usr/lib/python3.11/pydoc_data usr/lib/python3.11/distutils
find usr/bin -mindepth 1 ! -name 'python3.11' -delete
install -d -m 700 -o 10001 -g 10001 var/lib/tinymlops-agent
chmod 1777 tmp
