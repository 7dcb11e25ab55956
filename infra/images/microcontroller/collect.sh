#!/bin/sh
# Gathers in $2 what compiling for the targets in $1 (a line each: compiler, flags) and running them takes.
# Of a compiler with all its C libraries (2 GB) that is the C front end, the linker, and one library a target.
set -eu
targets=$1
root=$2
mkdir -p "$root/work/in" "$root/work/out" "$root/work/objects" "$root/bin"

take() {
    for path in "$@"; do
        mkdir -p "$root$(dirname "$path")"
        cp -aLu "$path" "$root$path"
    done
}

# The libraries that a target links, without what a debugger would read of them
take_libraries() {
    for library in libgcc.a libc.a; do
        path=$(realpath -s "$("$@" "-print-file-name=$library")")
        # picolibc lies where its specs file says, and the compiler asked knows nothing of that
        [ -e "$path" ] || path=/usr/lib/picolibc/riscv64-unknown-elf/lib/$("$@" -print-multi-directory)/$library
        take "$path"
        "${1%gcc}strip" --strip-debug "$root$path"
    done
}

take_compiler() {
    folder=$(dirname "$("$1" -print-prog-name=cc1)")
    take "/usr/bin/$1" "$folder/cc1" "$folder/collect2" "$folder/include" "$folder/include-fixed"
    for tool in as ld; do
        take "$(realpath -s "$("$1" "-print-prog-name=$tool")")"
    done
    [ ! -e "$folder/liblto_plugin.so" ] || take "$folder/lto-wrapper" "$folder/liblto_plugin.so"
}

for compiler in $(cut -d' ' -f1 "$targets" | sort -u); do
    take_compiler "$compiler"
done
while read -r compiler flags; do
    # shellcheck disable=SC2086 # one word a flag
    take_libraries "$compiler" $flags
done <"$targets"
take /usr/lib/arm-none-eabi/include /usr/lib/gcc/riscv64-unknown-elf/*/picolibc.specs \
    /usr/lib/picolibc/riscv64-unknown-elf/include
rm -rf "$root/usr/lib/arm-none-eabi/include/c++"
take /usr/bin/qemu-system-arm /usr/bin/qemu-system-riscv32 /usr/bin/qemu-riscv64 /usr/bin/qemu-arm /bin/dash
ln -s dash "$root/bin/sh"

mkdir -p "$root/opt"
gcc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -o "$root/opt/count.so" "$(dirname "$0")/plugin.c"

# ldd prints "name => path (address)", and the loader itself without an arrow
find "$root/usr/bin" "$root/usr/lib" "$root/bin" -type f -perm -u+x -exec ldd {} + 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/lib.*ld-linux/ { print $1 }' | sort -u |
    while read -r library; do
        take "$library"
    done
