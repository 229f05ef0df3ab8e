#!/bin/sh
# nodeapi.sh: see to it that there is a current API server for the tests, and an etcd for it.
# Built once with Go, where there is one that is new enough, and kept outside of the tree; where
# there is none, it says so and is content: the tests then say what they skip.
set -eu
source=$(dirname "$0")/../plugins/kube/tests/nodeapi
key=$(cd "$source" && cat main.go go.mod go.sum | sha256sum | cut -c1-16)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/flannel-sdk/nodeapi-$key
[ ! -x "$kept/nodeapi" ] || exit 0
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0

if ! command -v go >/dev/null || ! why=$(cd "$source" && go list -m 2>&1); then
    echo "make: nodeapi is not built: ${why:-there is no go command}" >&2
    exit 0
fi
mkdir -p "$kept"
exec 9>"$kept/lock"
flock -n 9 || { echo "make: waiting for another build of nodeapi" >&2; flock 9; }
[ ! -x "$kept/nodeapi" ] || exit 0
echo "make: nodeapi is compiled, which takes minutes" >&2
# what a build that was killed has left
rm -rf "$kept"/build.*
work=$(mktemp -d "$kept/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$source"
go build -trimpath -ldflags='-s -w' -o "$work/etcd" go.etcd.io/etcd/server/v3
go build -trimpath -ldflags='-s -w' -o "$work/nodeapi" .
"$work/etcd" --version >/dev/null
# The last one says that all is there.
mv "$work/etcd" "$kept/etcd"
mv "$work/nodeapi" "$kept/nodeapi"
