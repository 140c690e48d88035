package tunnel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestParseID(t *testing.T) {
	const want = "f1f2f3f4-0001-4002-8003-000000000004"
	for _, in := range []string{want, "F1F2F3F4-0001-4002-8003-000000000004", "f1f2f3f4000140028003000000000004"} {
		id, err := tunnel.ParseID(in)
		if err != nil || id.String() != want {
			t.Errorf("ParseID(%q) = %v, %v, want %s", in, id, err, want)
		}
		c, err := tunnel.ParseConnectorID(in)
		if err != nil || c.String() != want {
			t.Errorf("ParseConnectorID(%q) = %v, %v, want %s", in, c, err, want)
		}
	}
	for _, in := range []string{
		"", "x", want[:35], want + "0", strings.ReplaceAll(want, "-", "_"),
		"g1f2f3f4000140028003000000000004", "f1f2f3f40-001-4002-8003-00000000004",
	} {
		if id, err := tunnel.ParseID(in); err == nil || !id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v, want an error and the zero id", in, id, err)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", in)) {
			t.Errorf("ParseID(%q): error %q does not name the input", in, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("f1f2f3f4-0001-4002-8003-000000000004")
	f.Add("f1f2f3f4000140028003000000000004")
	f.Add("-")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := tunnel.ParseID(s)
		if err != nil {
			return
		}
		again, err := tunnel.ParseID(id.String())
		if err != nil || again != id {
			t.Fatalf("ParseID(%q) = %v, and its text gives %v, %v", s, id, again, err)
		}
	})
}

func TestNewID(t *testing.T) {
	id, err := tunnel.NewID(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	if err != nil || id.String() != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("NewID = %v, %v: want version 4, variant 1", id, err)
	}
	if _, err := tunnel.NewConnectorID(strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("NewConnectorID from 5 bytes: %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestIDsAreTextInJSON(t *testing.T) {
	id, err := tunnel.ParseID("f1f2f3f4-0001-4002-8003-000000000004")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tunnel.Slot{Tunnel: id, Connector: tunnel.ConnectorID(id), Index: 3})
	if err != nil {
		t.Fatal(err)
	}
	var back tunnel.Slot
	if err := json.Unmarshal(b, &back); err != nil || back.Tunnel != id || back.Index != 3 {
		t.Errorf("%s reads back as %v, %v", b, back, err)
	}
	if err := json.Unmarshal([]byte(`{"tunnel_id":"nonsense"}`), &back); err == nil {
		t.Error("a tunnel id that is none was read without an error")
	}
}

func TestSecretsNeverShow(t *testing.T) {
	c := tunnel.Credentials{Secret: tunnel.Secret("hush")}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.Secret, c.Secret, c.Secret), c.Secret.String(), string(j),
	} {
		if strings.Contains(shown, "hush") || strings.Contains(shown, "68757368") || strings.Contains(shown, "aHVzaA") {
			t.Errorf("the secret shows in %q", shown)
		}
		if !strings.Contains(shown, "***") {
			t.Errorf("%q does not say that a secret was left out", shown)
		}
	}
}

func TestReasonOf(t *testing.T) {
	ce := &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: io.EOF}
	for _, tc := range []struct {
		err  error
		want tunnel.Reason
	}{
		{nil, tunnel.ReasonNone}, {io.EOF, tunnel.ReasonInternal}, {ce, tunnel.ReasonDial}, {fmt.Errorf("attempt: %w", ce), tunnel.ReasonDial},
	} {
		if got := tunnel.ReasonOf(tc.err); got != tc.want {
			t.Errorf("ReasonOf(%v) = %q, want %q", tc.err, got, tc.want)
		}
	}
	if !errors.Is(ce, io.EOF) || ce.Error() != "dial: EOF" {
		t.Errorf("ConnError hides its cause: %v", ce)
	}
}

func TestParseProtocol(t *testing.T) {
	for _, p := range []tunnel.Protocol{tunnel.QUIC, tunnel.HTTP2} {
		if got, err := tunnel.ParseProtocol(string(p)); err != nil || got != p {
			t.Errorf("ParseProtocol(%q) = %q, %v", p, got, err)
		}
	}
	if _, err := tunnel.ParseProtocol("QUIC"); err == nil {
		t.Error("ParseProtocol accepts upper case")
	}
}
