#!/bin/sh
# Runs in the container, as the unit culvert-test.service: installs the service and writes what it sees into /out/results.
exec >/out/results 2>&1

listen=127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003,127.0.0.1:7004
mkdir -p /var/edge
CULVERT_DATA_DIR=/var/edge CULVERT_CONNECTORS_LISTEN=$listen CULVERT_PUBLIC_HTTP=127.0.0.1:8088 CULVERT_OPS_LISTEN=127.0.0.1:0 \
  CULVERT_BOOTSTRAP_TUNNEL=peer CULVERT_BOOTSTRAP_ROUTES='*' CULVERT_BOOTSTRAP_TOKEN_FILE=/var/edge/token /usr/local/bin/edge >/out/edge.log 2>&1 &
until [ -s /var/edge/token ]; do sleep 0.1; done
install -m 644 /var/edge/ca.pem /etc/edge-ca.pem
mkdir -p /etc/systemd/system/culvert.service.d
printf '[Service]\nEnvironment=TUNNEL_EDGE=%s TUNNEL_CACERT=/etc/edge-ca.pem TUNNEL_HELLO_WORLD=true TUNNEL_METRICS=127.0.0.1:2000\n' "$listen" \
  >/etc/systemd/system/culvert.service.d/edge.conf

show() { systemctl show culvert -p "$1" --value; }

culvert service install "$(cat /var/edge/token)" >/out/install.log 2>&1
echo "install: $?"
echo "state: $(show ActiveState) $(show SubState), $(systemctl is-enabled culvert), watchdog $(show WatchdogUSec)"
pid=$(show MainPID)
echo "user: $(ps -o user= -p "$pid"), token in its arguments: $(tr '\0' '\n' <"/proc/$pid/cmdline" | grep -c "$(cat /var/edge/token)")"
echo "token file: $(stat -c '%a %U' /etc/cloudflared/token)"
echo "page: $(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8088/)"
echo "health check: $(culvert tunnel --metrics 127.0.0.1:2000 ready && echo "$?")"
systemctl reload culvert
echo "reload: $?, $(systemctl is-active culvert), same process: $([ "$pid" = "$(show MainPID)" ] && echo yes)"
kill -9 "$pid"
until [ "$(show MainPID)" != "$pid" ] && [ "$(show SubState)" = running ]; do sleep 0.1; done
echo "killed: $(systemctl is-active culvert), restarts $(show NRestarts)"
systemctl stop culvert
echo "stop: $?, $(show ActiveState), result $(show Result), exit code $(show ExecMainStatus)"
culvert service uninstall >>/out/install.log 2>&1
echo "uninstall: $?, left: $(find /etc/systemd/system /etc/cloudflared -type f -name 'culvert.service' -o -type f -name token | wc -l)"
journalctl --no-pager >/out/journal.log 2>&1
systemctl poweroff --force --force >/dev/null 2>&1
