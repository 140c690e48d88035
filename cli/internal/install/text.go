package install

import "strings"

// unitHead is the part of a unit before the user of the service.
const unitHead = `# Written by "@NAME@ service install"; "@NAME@ service uninstall" removes it.
[Unit]
Description=Connector of a tunnel (@NAME@)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart=@COMMAND@
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5s
# The first connection may need a while on a slow network.
TimeoutStartSec=60s
# The grace period of requests in flight is 30 s; the connector asks for more time when its own is longer.
TimeoutStopSec=45s
KillMode=mixed
WatchdogSec=60s

`

// unitUser runs the service as a user of its own, which exists only while it runs. systemd hands it the token: the file belongs to
// root.
const unitUser = `DynamicUser=yes
LoadCredential=token:@TOKEN@
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
`

// unitRoot runs the service as root, since the files that a configuration names (credentials, certificates, sockets of origins) belong
// to whom they belong. Of root's rights it keeps those to reach such files.
const unitRoot = `CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_NET_BIND_SERVICE
ProtectSystem=full
`

// unitTail holds for every service: the directory of its socket for changes from this host, and the hardening.
const unitTail = `RuntimeDirectory=@NAME@
RuntimeDirectoryMode=0700
NoNewPrivileges=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
`

func unitText(s service) string {
	user := unitRoot
	if s.token && s.credentials {
		user = unitUser
	}
	// A percent sign begins a specifier in a unit.
	return fill(unitHead+user+unitTail, s, strings.ReplaceAll(s.command(), "%", "%%"))
}

const openRCScript = `#!/sbin/openrc-run
# Written by "@NAME@ service install"; "@NAME@ service uninstall" removes it.

description="Connector of a tunnel (@NAME@)"
supervisor="supervise-daemon"
command="@PROGRAM@"
command_args="@ARGS@"
command_user="${@NAME@_user:-root}"
pidfile="/run/${RC_SVCNAME}.pid"
output_log="/var/log/${RC_SVCNAME}.log"
error_log="/var/log/${RC_SVCNAME}.err"
respawn_delay=5
respawn_max=0
# Requests in flight have 30 s to end. Without this line OpenRC waits for 5 s and leaves the connector behind.
retry="TERM/45/KILL/5"
extra_started_commands="reload"

depend() {
	need net
	use dns logger
	after firewall
}

reload() {
	ebegin "Reloading ${RC_SVCNAME}"
	supervise-daemon "${RC_SVCNAME}" --signal HUP --pidfile "${pidfile}"
	eend $?
}
`

func openRCText(s service) string { return fill(openRCScript, s, "") }

const sysVScript = `#!/bin/sh
# Written by "@NAME@ service install"; "@NAME@ service uninstall" removes it.
# chkconfig: 2345 99 01
# description: connector of a tunnel
### BEGIN INIT INFO
# Provides:          @NAME@
# Required-Start:    $network $remote_fs
# Required-Stop:     $network $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: connector of a tunnel
# Description:       connector of a tunnel
### END INIT INFO

pid_file=/var/run/@NAME@.pid
log_file=/var/log/@NAME@.log
stop_wait=45
[ -r /etc/default/@NAME@ ] && . /etc/default/@NAME@
[ -r /etc/sysconfig/@NAME@ ] && . /etc/sysconfig/@NAME@

running() {
	[ -s "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

start() {
	if running; then
		echo "@NAME@ is running"
		return 0
	fi
	echo "Starting @NAME@"
	nohup @COMMAND@ >>"$log_file" 2>&1 </dev/null &
	echo $! >"$pid_file"
}

# The connector finishes the requests in flight before it ends.
stop() {
	if ! running; then
		echo "@NAME@ is not running"
		rm -f "$pid_file"
		return 0
	fi
	echo "Stopping @NAME@"
	kill "$(cat "$pid_file")"
	left=$stop_wait
	while running; do
		if [ "$left" -le 0 ]; then
			echo "@NAME@ still runs" >&2
			return 1
		fi
		left=$((left - 1))
		sleep 1
	done
	rm -f "$pid_file"
}

case "$1" in
	start) start ;;
	stop) stop ;;
	restart) stop && start ;;
	reload) running && kill -HUP "$(cat "$pid_file")" ;;
	status)
		if running; then
			echo "@NAME@ is running"
		else
			echo "@NAME@ is not running"
			exit 3
		fi
		;;
	*)
		echo "Usage: $0 {start|stop|restart|reload|status}" >&2
		exit 2
		;;
esac
`

func sysVText(s service) string { return fill(sysVScript, s, s.command()) }

// fill puts the service into a text.
func fill(text string, s service, command string) string {
	return strings.NewReplacer(
		"@NAME@", s.name, "@COMMAND@", command, "@PROGRAM@", s.program, "@ARGS@", strings.Join(s.args(), " "), "@TOKEN@", tokenPath,
	).Replace(text)
}
