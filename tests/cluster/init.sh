#!/usr/bin/env bash
# Process 1 of a host: init.sh NAME FOLDER SHARED...  FOLDER holds its own files, SHARED are folders that all hosts see.
set -euo pipefail
name=$1 folder=$2
shift 2
shared=("$@")
hostname "$name"
mount -t tmpfs tmpfs /run
mkdir /run/sshd
# They may lie in the home folder or in /tmp, which are covered below.
for i in "${!shared[@]}"; do
    # It is there already when the host was started before.
    mkdir -p "$folder/shared$i"
    mount --bind "${shared[i]}" "$folder/shared$i"
done
mount --bind "$folder/root" /root
# Under 2 GB, Ray takes /tmp for it.
mount -t tmpfs -o size=4g tmpfs /dev/shm
mount --bind "$folder/tmp" /tmp
for i in "${!shared[@]}"; do
    mkdir -p "${shared[i]}"
    mount --bind "$folder/shared$i" "${shared[i]}"
done
# With the loopback address, the head would tell the others to look for it there.
mount --bind "$folder/hosts" /etc/hosts
/usr/sbin/sshd -D -e -f "$folder/sshd_config" 2> "$folder/sshd.log" &
touch "$folder/ready"
# It reaps whoever is left to it.
while :; do
    wait || true
    sleep 1
done
