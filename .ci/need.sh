#!/bin/sh
# need.sh PACKAGE SENTENCE: install a Debian package that is missing, or say which one it is.
set -eu
package=$1
sentence=$2
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make: $sentence: install the package $package (Debian: apt-get install $package)" >&2
    exit 1
fi
echo "make: $sentence: installing the package $package with apt-get" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "$package"; } >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "make: $sentence, and apt-get could not install the package $package" >&2
    exit 1
fi
