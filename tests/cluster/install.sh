#!/usr/bin/env bash
# What the hosts of the lab need from Debian; where it cannot be installed, the tests say what is missing.
set -euo pipefail
needed=(openssh-server rsync iproute2 procps util-linux)
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! dpkg --status "${needed[@]}" > /dev/null 2>&1; then
    # The machine's own sshd is not to start.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends "${needed[@]}"; } ||
        echo "cannot install ${needed[*]}" >&2
fi
