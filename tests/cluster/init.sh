#!/usr/bin/env bash
# Process 1 of a host: init.sh NAME FOLDER PYTHON.  FOLDER holds its own files, PYTHON is the interpreter's folder.
set -euo pipefail
name=$1 folder=$2 python=$3
hostname "$name"
mount -t tmpfs tmpfs /run
mkdir /run/sshd
# It is there already when the host was started before.
mkdir -p "$folder/python"
mount --bind "$python" "$folder/python"
mount --bind "$folder/root" /root
# It may have been in the home folder that is covered now.
mkdir -p "$python"
mount --bind "$folder/python" "$python"
# Under 2 GB, Ray takes /tmp for it.
mount -t tmpfs -o size=4g tmpfs /dev/shm
mount --bind "$folder/tmp" /tmp
# With the loopback address, the head would tell the others to look for it there.
mount --bind "$folder/hosts" /etc/hosts
/usr/sbin/sshd -D -e -f "$folder/sshd_config" 2> "$folder/sshd.log" &
touch "$folder/ready"
# It reaps whoever is left to it.
while :; do
    wait || true
    sleep 1
done
