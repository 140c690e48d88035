package host

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Messages of the protocol between a process and systemd (sd_notify(3)).
const (
	msgReady    = "READY=1"
	msgWatchdog = "WATCHDOG=1"
)

// stopExtra is what the end of the process may take beyond the grace period.
const stopExtra = 10 * time.Second

// msgStopping says that the end has begun. It asks for the time that the drain may take, since the unit of another program may
// allow less.
func msgStopping(grace time.Duration) string {
	return fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", (grace + stopExtra).Microseconds())
}

// msgReloading says that files are read again, at the given reading of the monotonic clock. systemd needs the time, so that it does
// not mistake an earlier READY=1 for the end of this reload.
func msgReloading(monotonic time.Duration) string {
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic.Microseconds())
}

// watchdogEvery gives the interval at which the service manager wants a sign of life, by the texts of WATCHDOG_USEC and WATCHDOG_PID;
// 0 is never. It is a quarter of the manager's limit, so that one sign that is late or lost does no harm.
func watchdogEvery(usec, pid string, self int) time.Duration {
	limit, err := strconv.ParseUint(usec, 10, 62)
	if err != nil || limit == 0 || pid != "" && pid != strconv.Itoa(self) {
		return 0
	}
	const most = uint64(24 * time.Hour / time.Microsecond)
	return max(time.Duration(min(limit, most))*time.Microsecond/4, time.Millisecond)
}

// notify sends one message to the socket of the service manager. An address that begins with @ is in the abstract name space.
func notify(ctx context.Context, socket, message string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", socket)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	return err
}
