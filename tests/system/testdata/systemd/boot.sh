#!/bin/sh
# usage: unshare -m boot.sh LAYER OUT    boots systemd in a container on this machine's file system, with LAYER above it and OUT as /out.
# Everything that is written below / is in memory and ends with the mount namespace.
set -eu
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp -a "$1" /mnt/layer # an overlay refuses a layer that lies within another one
mount -t overlay overlay -o lowerdir=/mnt/layer:/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
rm -rf /mnt/root/etc/cloudflared /mnt/root/etc/machine-id
mkdir -p /mnt/root/out
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no --console=pipe --bind="$2":/out \
  -D /mnt/root -b systemd.unit=culvert-test.target </dev/null
