#!/bin/sh
# Lays a root of another architecture in /sysroot: packages are downloaded and unpacked, none is run.
set -eu
architecture=$1
mkdir -p /apt/lists/partial /apt/cache/archives/partial /sysroot

# The release alone: it changes seldom, and its mirrors are whole for every architecture at any time, which those of
# updates are not. The measuring container has no network that an update would have to guard.
. /etc/os-release
# shellcheck disable=SC2016 # apt fills in the words with a dollar
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' |
    awk -v release="$VERSION_CODENAME" '$3 == release' | sort -u >/apt/sources.list

apt() {
    apt-get -q -o Dir::Etc::SourceList=/apt/sources.list -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
        -o Dir::State::status=/dev/null -o Dir::State::lists=/apt/lists -o Dir::Cache=/apt/cache \
        -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}
apt update
apt install -y --download-only --no-install-recommends \
    libatomic1 libgcc-s1 libpython3-stdlib libstdc++6 python3-minimal python3-numpy
for package in /apt/cache/archives/*.deb; do
    dpkg-deb -x "$package" /sysroot
done
# What the packages' own scripts would have linked
for library in blas lapack; do
    for file in /sysroot/usr/lib/*/"$library"/lib"$library".so.3; do
        ln -sf "$library/lib$library.so.3" "$(dirname "$(dirname "$file")")/lib$library.so.3"
    done
done
# Nothing in a measurement reads these
rm -rf /apt /sysroot/usr/share /sysroot/var /sysroot/usr/lib/python3/dist-packages/numpy/*/tests
mkdir -p /sysroot/tmp /sysroot/work/in /sysroot/work/out
