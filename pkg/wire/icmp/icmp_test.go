package icmp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/icmp"
)

type vector struct {
	Name    string `json:"name"`
	Action  string `json:"action"`
	Packet  string `json:"packet_hex"`
	Reply   string `json:"reply_hex"`
	Length  int    `json:"reply_length"`
	Router  string `json:"router_ip"`
	Error   string `json:"decode_error"`
	Decoded struct {
		Code uint8      `json:"code"`
		Dst  netip.Addr `json:"dst"`
		Src  netip.Addr `json:"src"`
		TTL  uint8      `json:"ttl"`
		Type string     `json:"type"`
	} `json:"decoded"`
}

var repeated = regexp.MustCompile(`\{\{(.)\*(\d+)\}\}`)

// unhex decodes hexadecimal text in which {{c*N}} stands for N times c.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	s = repeated.ReplaceAllStringFunc(s, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("vector is not hex: %v", err)
	}
	return b
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/icmp_packets.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []vector }
	if err := json.Unmarshal(b, &file); err != nil || len(file.Cases) == 0 {
		t.Fatalf("%d vectors, %v", len(file.Cases), err)
	}
	return file.Cases
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			in := unhex(t, v.Packet)
			p, err := icmp.Parse(in)
			if v.Error != "" {
				if err == nil {
					t.Errorf("Parse = %+v, want an error", p)
				}
				return
			}
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if p.Src != v.Decoded.Src || p.Dst != v.Decoded.Dst || p.TTL != v.Decoded.TTL || p.Code != v.Decoded.Code ||
				p.IsEchoRequest() != (v.Decoded.Type != "echo reply") || p.IsEchoReply() != (v.Decoded.Type == "echo reply") {
				t.Errorf("Parse = %+v, want %+v", p, v.Decoded)
			}
			if v.Action == "forward" {
				roundTrip(t, p)
				return
			}
			if p.DecrementTTL() {
				t.Error("DecrementTTL lets the packet travel on")
			}
			router := netip.MustParseAddr(v.Router)
			out, err := icmp.AppendError([]byte("kept"), router, p.Src, icmp.TimeExceeded(p.Is6()), p.Raw)
			if err != nil || !bytes.Equal(out[4:], unhex(t, v.Reply)) || len(out)-4 != v.Length {
				t.Errorf("AppendError = %x, %v, want %s", out[4:], err, v.Reply)
			}
		})
	}
}

// roundTrip rebuilds the packet of a vector, and sends it one hop further.
func roundTrip(t *testing.T, p icmp.Packet) {
	t.Helper()
	e, err := p.Echo()
	if err != nil {
		t.Fatal(err)
	}
	dir := icmp.Direction(p.IsEchoReply())
	out, err := e.Append(nil, p.Src, p.Dst, p.TTL, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := icmp.Parse(out)
	if err != nil || !again.Valid() || !sameEcho(t, again, e) {
		t.Errorf("rebuilt packet %x reads as %+v, %v", out, again, err)
	}
	if !again.DecrementTTL() || again.TTL != p.TTL-1 || !again.Valid() {
		t.Errorf("one hop further: TTL %d, valid %v", again.TTL, again.Valid())
	}
	if reread, err := icmp.Parse(again.Raw); err != nil || reread.TTL != p.TTL-1 {
		t.Errorf("one hop further: reads as TTL %d, %v", reread.TTL, err)
	}
}

func sameEcho(t *testing.T, p icmp.Packet, want icmp.Echo) bool {
	t.Helper()
	got, err := p.Echo()
	return err == nil && got.ID == want.ID && got.Seq == want.Seq && bytes.Equal(got.Data, want.Data)
}

var (
	v4a, v4b = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	v6a, v6b = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::2")
)

func TestChecksumsOfRecordedPackets(t *testing.T) {
	for _, v := range loadVectors(t) {
		if v.Reply == "" {
			continue
		}
		if p, err := icmp.Parse(unhex(t, v.Reply)); err != nil || !p.Valid() || !p.IsError() {
			t.Errorf("reply of %s: %v, valid %v, error %v", v.Name, err, p.Valid(), p.IsError())
		}
	}
}

func TestErrorsAreQuoted(t *testing.T) {
	for _, pair := range [][2]netip.Addr{{v4a, v4b}, {v6a, v6b}} {
		from, to := pair[0], pair[1]
		for _, size := range []int{0, 8, 2000} {
			echo := icmp.Echo{ID: 7, Seq: 9, Data: make([]byte, size)}
			original, err := echo.Append(nil, from, to, 1, icmp.Request)
			if err != nil {
				t.Fatal(err)
			}
			want := icmp.Fault{Type: icmp.TooBig6, Info: 1280}
			out, err := icmp.AppendError(nil, to, from, want, original)
			if err != nil {
				t.Fatal(err)
			}
			p, err := icmp.Parse(out)
			if err != nil || !p.Valid() || p.Fault() != want || p.TTL != icmp.ReplyTTL {
				t.Fatalf("%d bytes: %+v, %v", size, p, err)
			}
			q, err := p.Quote()
			if err != nil || q.Src != from || q.Dst != to || !q.IsEchoRequest() {
				t.Fatalf("%d bytes: quote %+v, %v", size, q, err)
			}
			if e, err := q.Echo(); err != nil || e.ID != 7 || e.Seq != 9 {
				t.Errorf("%d bytes: quote of %d/%d, %v", size, e.ID, e.Seq, err)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	echo, _ := icmp.Echo{Data: []byte("12345678")}.Append(nil, v4a, v4b, 64, icmp.Request)
	echo6, _ := icmp.Echo{Data: []byte("12345678")}.Append(nil, v6a, v6b, 64, icmp.Request)
	change := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"short header length":  {change(echo, 0, 0x44), icmp.ErrHeader},
		"length below header":  {change(echo, 3, 19), icmp.ErrHeader},
		"length beyond packet": {change(echo, 3, byte(len(echo)+1)), icmp.ErrShort},
		"no room for icmp":     {change(echo, 3, 27), icmp.ErrShort},
		"more fragments":       {change(echo, 6, 0x20), icmp.ErrFragment},
		"fragment offset":      {change(echo, 7, 1), icmp.ErrFragment},
		"tcp":                  {change(echo, 9, 6), icmp.ErrNotICMP},
		"v6 cut":               {echo6[:39], icmp.ErrShort},
		"v6 beyond packet":     {change(echo6, 5, 17), icmp.ErrShort},
		"v6 fragment":          {change(echo6, 6, 44), icmp.ErrFragment},
		"v6 hop by hop":        {change(echo6, 6, 0), icmp.ErrNotICMP},
		"v6 icmp short":        {change(echo6, 5, 7), icmp.ErrShort},
		"version":              {change(echo6, 0, 0x50), icmp.ErrVersion},
	} {
		if p, err := icmp.Parse(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: Parse = %+v, %v, want %v", name, p, err, c.want)
		}
	}
	if p, err := icmp.Parse(change(echo, 6, 0x40)); err != nil {
		t.Errorf("don't fragment: %+v, %v", p, err)
	}
	if p, err := icmp.Parse(append(bytes.Clone(echo), "tail"...)); err != nil || len(p.Raw) != len(echo) {
		t.Errorf("tail: %d bytes, %v, want %d", len(p.Raw), err, len(echo))
	}
}

func TestAppendRefuses(t *testing.T) {
	large := icmp.Echo{Data: make([]byte, 0x10000)}
	for name, c := range map[string]struct {
		from, to netip.Addr
		echo     icmp.Echo
		want     error
	}{
		"families":   {v4a, v6a, icmp.Echo{}, icmp.ErrFamily},
		"no address": {netip.Addr{}, netip.Addr{}, icmp.Echo{}, icmp.ErrFamily},
		"large v4":   {v4a, v4b, large, icmp.ErrTooLarge},
		"large v6":   {v6a, v6b, large, icmp.ErrTooLarge},
	} {
		if b, err := c.echo.Append([]byte("kept"), c.from, c.to, 1, icmp.Request); !errors.Is(err, c.want) || string(b) != "kept" {
			t.Errorf("%s: Append = %d bytes, %v, want %v and nothing added", name, len(b), err, c.want)
		}
	}
	if b, err := icmp.AppendError(nil, v4a, v6a, icmp.Fault{}, nil); !errors.Is(err, icmp.ErrFamily) || len(b) != 0 {
		t.Errorf("AppendError = %x, %v, want ErrFamily", b, err)
	}
}

func TestMessagesOfPingSockets(t *testing.T) {
	for _, is6 := range []bool{false, true} {
		b := icmp.Echo{ID: 1, Seq: 2, Data: []byte("x")}.AppendMessage(nil, is6)
		if e, err := icmp.ParseMessage(b, is6, icmp.Request); err != nil || e.Seq != 2 || string(e.Data) != "x" {
			t.Errorf("v6 %v: %+v, %v", is6, e, err)
		}
		if _, err := icmp.ParseMessage(b, is6, icmp.Reply); !errors.Is(err, icmp.ErrNotEcho) {
			t.Errorf("v6 %v: a request read as a reply: %v", is6, err)
		}
		if _, err := icmp.ParseMessage(b[:7], is6, icmp.Request); !errors.Is(err, icmp.ErrShort) {
			t.Errorf("v6 %v: cut message: %v", is6, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(unhex(f, v.Packet))
		f.Add(unhex(f, v.Reply))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := icmp.Parse(b)
		if err != nil {
			return
		}
		if len(p.Raw) > len(b) || len(p.Message) > len(p.Raw) {
			t.Fatalf("%d bytes gave a packet of %d and a message of %d", len(b), len(p.Raw), len(p.Message))
		}
		if q, err := p.Quote(); err == nil && q.Src.Is6() == q.Src.Is4() {
			t.Fatalf("quote %+v", q)
		}
		if out, err := icmp.AppendError(nil, p.Dst, p.Src, p.Fault(), p.Raw); err != nil {
			t.Fatalf("AppendError: %v", err)
		} else if back, err := icmp.Parse(out); err != nil || !back.Valid() || back.Dst != p.Src {
			t.Fatalf("error about %x reads as %+v, %v", b, back, err)
		}
		if e, err := p.Echo(); err == nil {
			out, err := e.Append(nil, p.Src, p.Dst, p.TTL, icmp.Direction(p.IsEchoReply()))
			if err != nil {
				t.Fatalf("Append of a parsed echo: %v", err)
			}
			if again, err := icmp.Parse(out); err != nil || !again.Valid() || !bytes.Equal(again.Message[4:], p.Message[4:]) {
				t.Fatalf("parse(append(x)) = %+v, %v", again, err)
			}
		}
		if p.DecrementTTL() {
			if again, err := icmp.Parse(p.Raw); err != nil || again.TTL != p.TTL {
				t.Fatalf("one hop further: %+v, %v", again, err)
			}
		}
	})
}
