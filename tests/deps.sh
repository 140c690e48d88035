#!/usr/bin/env bash
# Installs the programs that the tests run against, by the names of their commands, where this is a Debian-like machine
# and the caller may install; otherwise says what is missing and goes on: a test that needs it prints why it was skipped.
set -u
declare -A package=([redis-server]=redis-server [nginx]=nginx-light [git]=git [chromium]=chromium [docker-compose]=docker-compose
  [dnsmasq]=dnsmasq-base [dig]=bind9-dnsutils [sshd]=openssh-server [ssh]=openssh-client [scp]=openssh-client [postgres]=postgresql
  [psql]=postgresql-client [redis-cli]=redis-tools [iperf3]=iperf3 [nc]=netcat-openbsd [ip]=iproute2 [nft]=nftables [ping]=iputils-ping
  [tcpdump]=tcpdump [systemd-nspawn]=systemd-container [setpriv]=util-linux [curl]=curl [update-ca-certificates]=ca-certificates)
missing=()
for c in "$@"; do
  case $c in
    python3-*) dpkg -s "$c" >/dev/null 2>&1 && continue ;; # a library has no command
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && continue ;; # Debian keeps it out of the path
  esac
  PATH="$PATH:/usr/sbin:/sbin" command -v "$c" >/dev/null || missing+=("${package[$c]:-$c}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "${CULVERT_TEST_INSTALL:-yes}" = no ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed: ${missing[*]}; the tests that need them will be skipped" >&2
  exit 0
fi
echo "installing for the tests: ${missing[*]} (apt-get install; CULVERT_TEST_INSTALL=no skips this and the tests that need them)" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null 2>&1
# A package's own daemon must not start: the tests run their own, on their own ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
for p in "${missing[@]}"; do
  RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 || echo "could not install $p" >&2
done
