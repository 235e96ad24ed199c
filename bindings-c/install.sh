#!/bin/sh
# Builds the C library and installs it: headers, shared and static library, pkg-config, CMake.
#
#   bindings-c/install.sh --prefix DIR [--shared-only | --static-only]
set -eu
cd -- "$(dirname -- "$0")/.."

usage() {
    echo "usage: bindings-c/install.sh --prefix DIR [--shared-only | --static-only]" >&2
    exit 2
}

prefix= shared=yes static=yes
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -ge 2 ] || usage; prefix=$2; shift ;;
        --shared-only) static= ;;
        --static-only) shared= ;;
        *) usage ;;
    esac
    shift
done
[ -n "$prefix" ] && [ -n "$shared$static" ] || usage

cargo build --release -p emberform-c
target=${CARGO_TARGET_DIR:-target}/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
major=${version%%.*} rest=${version#*.}
minor=${rest%%.*}
native=$(cat bindings-c/native-static-libs)

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake/emberform"
prefix=$(cd -- "$prefix" && pwd)
cp bindings-c/include/emberform.h bindings-c/include/emberform.hpp "$prefix/include/"
if [ -n "$shared" ]; then
    cp "$target/libemberform_c.so" "$prefix/lib/libemberform.so.$version"
    # Names that no program can see are a third of it.
    if command -v strip >/dev/null; then strip --strip-unneeded "$prefix/lib/libemberform.so.$version"; fi
    ln -sf "libemberform.so.$version" "$prefix/lib/libemberform.so.$major.$minor"
    ln -sf "libemberform.so.$major.$minor" "$prefix/lib/libemberform.so"
fi
# What the header's functions need as one object that shows no other name: less than half the size,
# and nothing in it meets the names of other Rust libraries. Takes GNU's ld and objcopy.
slim() {
    work=$(mktemp -d)
    grep -o '\bember_[a-z_]*(' bindings-c/include/emberform.h | tr -d '(' | sort -u >"$work/names"
    # shellcheck disable=SC2046 # several words
    ld -r --gc-sections $(sed 's/^/-u /' "$work/names") -o "$work/all.o" "$target/libemberform_c.a" &&
        objcopy --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
            --keep-global-symbols="$work/names" "$work/all.o" "$work/emberform.o" &&
        rm -f "$work/all.o" "$prefix/lib/libemberform.a" &&
        ar rcs "$prefix/lib/libemberform.a" "$work/emberform.o"
    status=$?
    rm -rf "$work"
    return $status
}
if [ -n "$static" ]; then
    if ! ld --version 2>/dev/null | grep -q GNU || ! command -v objcopy >/dev/null || ! slim; then
        cp "$target/libemberform_c.a" "$prefix/lib/libemberform.a"
    fi
fi

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" \
        -e "s|@MINOR@|$minor|g" -e "s|@NATIVE@|$2|g" "$1"
}
fill bindings-c/emberform.pc.in "$native" >"$prefix/lib/pkgconfig/emberform.pc"
listed=$(printf '%s\n' $native | paste -sd ';' -)
for file in emberformConfig emberformConfigVersion; do
    fill "bindings-c/cmake/$file.cmake.in" "$listed" >"$prefix/lib/cmake/emberform/$file.cmake"
done
echo "emberform $version is in $prefix"
