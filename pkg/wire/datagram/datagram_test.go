package datagram_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func TestIdleTravelsInWholeSeconds(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{
		0:                       0,
		-time.Second:            0,
		time.Millisecond:        time.Second, // 0 would be the default
		1999 * time.Millisecond: time.Second,
		210 * time.Second:       210 * time.Second,
		100 * time.Hour:         65535 * time.Second, // the reference wraps
	} {
		r := datagram.Registration{Dest: netip.MustParseAddrPort("192.0.2.1:53"), Idle: in}
		b, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := datagram.ParseRegistration(b); err != nil || got.Idle != want {
			t.Errorf("idle %s was parsed as %s, %v, want %s", in, got.Idle, err, want)
		}
	}
}

func TestEncodersRejectInvalidValues(t *testing.T) {
	long := make([]byte, 2000)
	for name, c := range map[string]struct {
		do   func() ([]byte, error)
		want error
	}{
		"no destination": {func() ([]byte, error) { return (&datagram.Registration{}).Append(nil) }, datagram.ErrAddress},
		"zone": {func() ([]byte, error) {
			return (&datagram.Registration{Dest: netip.MustParseAddrPort("[fe80::1%eth0]:1")}).Append(nil)
		}, datagram.ErrAddress},
		"long text": {func() ([]byte, error) { return (&datagram.Response{Text: strings.Repeat("e", 1261)}).Append(nil) }, datagram.ErrTooLarge},
		"icmp":      {func() ([]byte, error) { return datagram.AppendICMP(nil, long[:1281]) }, datagram.ErrTooLarge},
		"no icmp":   {func() ([]byte, error) { return datagram.AppendICMP(nil, nil) }, datagram.ErrShort},
		"v2 trace": {func() ([]byte, error) {
			return (&datagram.V2{Type: datagram.V2TracedIP, Data: long[:1325]}).Append(nil)
		}, datagram.ErrTooLarge},
		"v2 type":      {func() ([]byte, error) { return (&datagram.V2{Type: 4}).Append(nil) }, datagram.ErrUnknownType},
		"v2 udp":       {func() ([]byte, error) { return (&datagram.V2{Data: long[:1281]}).Append(nil) }, datagram.ErrTooLarge},
		"v3 udp":       {func() ([]byte, error) { return datagram.AppendPayload(nil, datagram.ID{}, long[:1281]) }, datagram.ErrTooLarge},
		"wrong parser": {func() ([]byte, error) { return datagram.ParseICMP([]byte{1, 2}) }, datagram.ErrUnknownType},
	} {
		if b, err := c.do(); !errors.Is(err, c.want) || len(b) != 0 {
			t.Errorf("%s: %d bytes, %v, want %v", name, len(b), err, c.want)
		}
	}
}

func TestRegistrationWithPayloadFitsIntoADatagram(t *testing.T) {
	for dest, size := range map[string]int{"192.0.2.1:53": datagram.V3MaxBundled4, "[2001:db8::1]:53": datagram.V3MaxBundled6} {
		r := datagram.Registration{Dest: netip.MustParseAddrPort(dest), Payload: make([]byte, size)}
		if b, err := r.Append(nil); err != nil || len(b) != 1280 {
			t.Errorf("registration of %s: %d bytes, %v, want 1280", dest, len(b), err)
		}
	}
	if datagram.V3MaxBundled4 != 1254 || datagram.V3MaxBundled6 != 1242 {
		t.Errorf("limits are %d and %d, want 1254 and 1242", datagram.V3MaxBundled4, datagram.V3MaxBundled6)
	}
}

func TestResultsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for i := range 256 {
		names[datagram.Result(i).String()] = true
	}
	if len(names) != 6 {
		t.Errorf("names are %v, want 6", names)
	}
}
