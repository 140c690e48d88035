package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/udp"
)

// maxPingTime bounds the time that one call may wait for the reply.
const maxPingTime = 10 * time.Second

// Pinger sends pings through tunnels.
type Pinger interface {
	Ping(ctx context.Context, id tunnel.ID, r udp.PingRequest) (udp.PingReply, error)
}

// ping sends one echo request and waits for the reply.
func (a *API) ping(c echo.Context) error {
	var in adminclient.PingRequest
	if err := c.Bind(&in); err != nil {
		return err
	}
	t, err := a.byRef(c)
	if err != nil {
		return err
	}
	dst, err := netip.ParseAddr(in.Destination)
	if err != nil {
		return fmt.Errorf("%w: destination %q is not an IP address", udp.ErrPing, in.Destination)
	}
	wait := time.Duration(in.TimeoutMillis) * time.Millisecond
	if in.TimeoutMillis < 0 || wait > maxPingTime {
		return fmt.Errorf("%w: timeout %v is not between 0 and %v", udp.ErrPing, wait, maxPingTime)
	}
	r, err := a.deps.Pings.Ping(c.Request().Context(), t.ID, udp.PingRequest{Destination: dst, TTL: in.TTL, Size: in.Size, Timeout: wait})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, adminclient.PingReply{
		From: r.From, Kind: r.Kind, Type: r.Type, Code: r.Code, Size: r.Size, RTTMicros: r.RTT.Microseconds(),
	})
}
