#!/bin/sh
# firewall.sh: see to it that the tests find nft and iptables; where they cannot be installed it says
# so and is content: the tests then say what they skip.
set -eu
cd "$(dirname "$0")"
PATH="$PATH:/usr/sbin:/sbin"
for package in nftables:nft iptables:iptables; do
    command -v "${package#*:}" >/dev/null ||
        sh need.sh "${package%:*}" "there is no ${package#*:} command" ||
        echo "make: tests of firewall rules that need ${package#*:} will be skipped" >&2
done
