#!/bin/sh
# kube-apiserver.sh build: see to it that there is a Kubernetes API server for the tests.
# kube-apiserver.sh path: print where such a server is kept, built or not.
#
# It is built once, from the source package of this Debian release with its own Go compiler, in a
# folder of its own. Nothing is installed on the machine; outside of that folder apt's files stay
# as they are. It needs no root rights, 4 to 10 minutes and 2.5 GB of disk meanwhile.
set -eu
task=${1:-}
version=1.20.2
go=1.19
# To be raised when a change below makes another program.
recipe=1
kept=${XDG_CACHE_HOME:-$HOME/.cache}/flannel-sdk/kube-apiserver-$version/recipe-$recipe
server=$kept/kube-apiserver

say() {
    echo "make: $1" >&2
}

fail() {
    say "no API server could be built: $1"
    exit 1
}

# Runs a step into the log; says what it printed last if it fails.
step() {
    about=$1
    shift
    say "kube-apiserver: $about"
    if ! "$@" >>"$log" 2>&1; then
        tail -n 5 "$log" >&2
        fail "$about failed, the whole log is $log"
    fi
}

# Debian's own entries of apt's lists, with deb-src. Those of others are of no use, and each that
# cannot be reached would fail the update.
write_sources() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$file" ] || awk -v codename="$1" -v RS= -v ORS='\n\n' '
            $0 ~ "(^|\n)Suites:[^\n]*[ \t]" codename "([- \t\n]|$)" {
                sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb deb-src"); print
            }' "$file"
    done >"$work/apt/debian.sources"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$file" ] || sed -nE "/^deb(-src)? +(\[[^]]*\] +)?[^ ]+ +$1(-[a-z-]+)? /{s/^deb(-src)? /deb /p;s/^deb /deb-src /p}" "$file"
    done | sort -u >"$work/apt/debian.list"
    [ -s "$work/apt/debian.sources" ] || [ -s "$work/apt/debian.list" ] ||
        fail "apt's lists have no entry for Debian $1"
}

configure_apt() {
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/debs"
    write_sources "$codename"
    cat >"$work/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/apt/sources.list.d";
Dir::State::lists "$work/apt/lists";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Retries "3";
CONF
    mkdir "$work/apt/sources.list.d"
    mv "$work/apt/debian.sources" "$work/apt/debian.list" "$work/apt/sources.list.d/"
    export APT_CONFIG="$work/apt/apt.conf"
}

fetch() {
    cd "$work/debs"
    apt-get source --download-only kubernetes
    apt-get download "golang-$go-go" "golang-$go-src" golang-github-modern-go-reflect2-dev
}

unpack() {
    for package in "$work"/debs/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    mkdir -p "$work/go/src/k8s.io"
    dpkg-source --no-check -x "$work"/debs/kubernetes_*.dsc "$source"
    # The vendored 1.0.1 does not work with Go 1.18 and later: the server would say that it is
    # ready, and panic when it reads the first object with a map.
    rm -rf "$source/vendor/github.com/modern-go/reflect2"
    cp -r "$work/root/usr/share/gocode/src/github.com/modern-go/reflect2" \
        "$source/vendor/github.com/modern-go/reflect2"
    # The makefiles call rsync for one thing: to copy the finished program.
    mkdir "$work/bin"
    printf '#!/bin/sh\nexec cp -p "$2" "$3"\n' >"$work/bin/rsync"
    chmod +x "$work/bin/rsync"
}

# The makefile first generates openapi code, which the source package lacks.
compile() {
    cd "$source"
    env -u GOROOT -u GOBIN PATH="$work/root/usr/lib/go-$go/bin:$work/bin:$PATH" \
        HOME="$work" GOPATH="$work/go" GOCACHE="$work/gocache" GO111MODULE=off CGO_ENABLED=0 \
        make WHAT=cmd/kube-apiserver GOFLAGS=-tags=providerless GOLDFLAGS='-s -w'
}

build() {
    source=$work/go/src/k8s.io/kubernetes
    configure_apt
    step "apt's lists" apt-get update --error-on=any
    apt-cache showsrc kubernetes 2>/dev/null | grep -q "^Version: .*$version-" ||
        fail "this Debian release ($codename) has no source package of Kubernetes $version"
    step "its source and compiler are fetched" fetch
    step "they are unpacked" unpack
    step "it is compiled, which takes minutes (log: $log)" compile
    built=$source/_output/bin/kube-apiserver
    "$built" --version | grep -q "^Kubernetes v$version" || fail "what was built does not start"
    # In the same file system: it is there as a whole or not at all.
    mv "$(readlink -f "$built")" "$work/kube-apiserver"
    mv "$work/kube-apiserver" "$server"
}

case $task in
path)
    echo "$server"
    ;;
build)
    # what the tests would take anyway
    [ -z "${KUBE_APISERVER:-}" ] || exit 0
    [ ! -x "$server" ] || exit 0
    for tool in apt-get:apt dpkg-source:dpkg-dev flock:util-linux gcc:gcc; do
        command -v "${tool%:*}" >/dev/null ||
            sh "$(dirname "$0")/need.sh" "${tool#*:}" "there is no ${tool%:*} command"
    done
    mkdir -p "$kept"
    exec 9>"$kept/lock"
    flock -n 9 || { say "waiting for another build of kube-apiserver"; flock 9; }
    [ ! -x "$server" ] || exit 0
    # what a build that was killed has left
    rm -rf "$kept"/build.*
    work=$(mktemp -d "$kept/build.XXXXXX")
    log=$kept/log
    : >"$log"
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    build
    say "kube-apiserver $version is in $kept"
    ;;
*)
    echo "kube-apiserver.sh takes build or path" >&2
    exit 2
    ;;
esac
