#!/bin/sh
# compile.sh [OBJECT]: compile the programs; without a name, into the package.
# Clang 14 (Debian 12's clang-14) makes what the package ships; CLANG names it where it is called otherwise.
set -eu
here=$(dirname "$0")
object=${1:-$here/../src/flannel_sdk_udp/ebpf/tunnel.o}
clang=${CLANG:-clang-14}
case $object in /*) ;; *) object=$PWD/$object ;; esac
cd "$here"
exec "$clang" -target bpfel -mcpu=v2 -O2 -Wall -Wextra -Werror -fno-ident -fno-addrsig -c tunnel.c -o "$object"
