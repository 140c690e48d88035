package datagram_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("vector is not hex: %v", err)
	}
	return b
}

// addrPorts compares addresses as values.
var addrPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// loadVectors reads testdata/name.json.
func loadVectors[V any](t testing.TB, name string) []V {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []V `json:"vectors"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Vectors) == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return file.Vectors
}

func uuid(t testing.TB, s string) datagram.ID {
	t.Helper()
	id, err := tunnel.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return datagram.ID(id)
}

func tracing(t testing.TB, hexText string) datagram.Tracing {
	t.Helper()
	tr, err := datagram.ParseTracing(unhex(t, hexText))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

type v2Vector struct {
	Name    string `json:"name"`
	Op      string `json:"op"`
	Hex     string `json:"hex"`
	Error   string `json:"error"`
	Dropped bool   `json:"dropped"`
	Value   struct {
		Type        datagram.V2Type `json:"type"`
		SessionID   string          `json:"sessionId"`
		PayloadFill string          `json:"payload_fill_hex"`
		PayloadLen  int             `json:"payload_len"`
		Packet      string          `json:"packet_hex"`
		PacketFill  string          `json:"packet_fill_hex"`
		PacketLen   int             `json:"packet_len"`
		Identity    string          `json:"tracing_identity_hex"`
		Text        string          `json:"tracing_identity"`
	} `json:"value"`
	Result struct {
		Type      datagram.V2Type `json:"type"`
		SessionID string          `json:"sessionId"`
		Payload   string          `json:"payload_hex"`
		Metadata  string          `json:"metadata_hex"`
	} `json:"result"`
}

func TestV2Vectors(t *testing.T) {
	for _, v := range loadVectors[v2Vector](t, "datagram_v2") {
		t.Run(v.Name, func(t *testing.T) {
			if v.Op == "encode" {
				encodeV2(t, v)
			} else {
				decodeV2(t, v)
			}
		})
	}
}

func encodeV2(t *testing.T, v v2Vector) {
	d := datagram.V2{Type: v.Value.Type, Data: unhex(t, v.Value.Packet)}
	switch {
	case v.Value.SessionID != "":
		d.ID = uuid(t, v.Value.SessionID)
		d.Data = bytes.Repeat(unhex(t, v.Value.PayloadFill), v.Value.PayloadLen)
	case v.Value.PacketFill != "":
		d.Data = bytes.Repeat(unhex(t, v.Value.PacketFill), v.Value.PacketLen)
	}
	if v.Value.Identity != "" {
		d.Tracing = tracing(t, v.Value.Identity)
		if got, err := datagram.ParseTracingText(v.Value.Text); err != nil || got != d.Tracing {
			t.Errorf("ParseTracingText(%q) = %v, %v, want %v", v.Value.Text, got, err, d.Tracing)
		}
	}
	got, err := d.Append([]byte("kept"))
	if v.Error != "" {
		if !errors.Is(err, datagram.ErrTooLarge) || string(got) != "kept" {
			t.Errorf("Append = %d bytes, %v, want ErrTooLarge and nothing added", len(got), err)
		}
		return
	}
	if err != nil || hex.EncodeToString(got[4:]) != v.Hex {
		t.Errorf("Append = %x, %v, want %s", got[4:], err, v.Hex)
	}
}

func decodeV2(t *testing.T, v v2Vector) {
	got, err := datagram.ParseV2(unhex(t, v.Hex))
	if v.Dropped {
		if err == nil {
			t.Errorf("ParseV2 = %+v, want an error", got)
		}
		return
	}
	want := datagram.V2{Type: v.Result.Type, Data: unhex(t, v.Result.Payload)}
	if v.Result.SessionID != "" {
		want.ID = uuid(t, v.Result.SessionID)
	}
	if v.Result.Metadata != "" {
		want.Tracing = tracing(t, v.Result.Metadata)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("ParseV2: error %v (-want +got):\n%s", err, diff)
	}
}

type v3Vector struct {
	Name     string  `json:"name"`
	Op       string  `json:"op"`
	Datagram string  `json:"datagram"`
	Hex      string  `json:"hex"`
	Error    string  `json:"error"`
	Value    v3Value `json:"value"`
	Decoded  struct {
		v3Value
		Error    string          `json:"error"`
		Expected string          `json:"expected"`
		Type     datagram.V3Type `json:"type"`
		Prefix   string          `json:"payload_sha_prefix_hex"`
	} `json:"decoded"`
}

type v3Value struct {
	Dest       netip.AddrPort  `json:"dest"`
	Idle       time.Duration   `json:"idle_ns"`
	Fill       string          `json:"payload_fill_hex"`
	PayloadLen int             `json:"payload_len"`
	ID         string          `json:"request_id"`
	Traced     bool            `json:"traced"`
	Result     datagram.Result `json:"response_type"`
	Text       string          `json:"error_msg"`
	TextLen    int             `json:"error_msg_len"`
}

func (v v3Value) id(t testing.TB) datagram.ID { return datagram.ID(unhex(t, v.ID)) }

func (v v3Value) text() string {
	if len(v.Text) == v.TextLen {
		return v.Text
	}
	return string(bytes.Repeat([]byte("e"), v.TextLen)) // the vector writes long texts in words
}

func (v v3Value) payload(t testing.TB) []byte {
	return bytes.Repeat(unhex(t, v.Fill), v.PayloadLen)
}

// ourV3 lists the vectors where ours differs on purpose.
var ourV3 = map[string]string{
	"payload_1281_rejected": "our encoder does not write what every decoder rejects (docs/spec/wire.md 11, limits)",
	"in_resp_len_4_text_6":  "the stated length of the text is honoured (docs/spec/wire.md 11)",
}

func TestV3Vectors(t *testing.T) {
	for _, v := range loadVectors[v3Vector](t, "datagram_v3") {
		t.Run(v.Name, func(t *testing.T) {
			if v.Op == "encode" {
				encodeV3(t, v)
			}
			if v.Error == "" {
				decodeV3(t, v)
			}
		})
	}
}

func encodeV3(t *testing.T, v v3Vector) {
	var (
		got  []byte
		err  error
		want = v.Hex
		fail = v.Error != ""
	)
	switch v.Datagram {
	case "registration":
		r := datagram.Registration{
			ID: v.Value.id(t), Dest: v.Value.Dest, Idle: v.Value.Idle, Traced: v.Value.Traced, Payload: v.Value.payload(t),
		}
		got, err = r.Append(nil)
	case "payload":
		got, err = datagram.AppendPayload(nil, v.Value.id(t), v.Value.payload(t))
		fail = fail || ourV3[v.Name] != ""
	case "registration_response":
		r := datagram.Response{ID: v.Value.id(t), Result: v.Value.Result, Text: v.Value.text()}
		got, err = r.Append(nil)
	case "icmp":
		packet := make([]byte, v.Value.PayloadLen)
		if len(v.Hex) > 2 {
			packet = unhex(t, v.Hex)[1:]
		}
		got, err = datagram.AppendICMP(nil, packet)
	default:
		t.Fatalf("datagram %q is not tested", v.Datagram)
	}
	if fail {
		if err == nil {
			t.Errorf("Append = %x, want an error", got)
		}
		return
	}
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("Append = %x, %v, want %s", got, err, want)
	}
}

func decodeV3(t *testing.T, v v3Vector) {
	in := unhex(t, v.Hex)
	got, err := parseV3(in)
	if v.Decoded.Error != "" || v.Decoded.Expected == "drop" {
		if err == nil {
			t.Errorf("parsed %+v, want an error", got)
		}
		return
	}
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	switch got := got.(type) {
	case datagram.Registration:
		want := datagram.Registration{
			ID: v.Decoded.id(t), Dest: v.Decoded.Dest, Idle: v.Decoded.Idle, Traced: v.Decoded.Traced,
			Payload: in[len(in)-v.Decoded.PayloadLen:],
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), addrPorts); diff != "" {
			t.Errorf("ParseRegistration (-want +got):\n%s", diff)
		}
		if !bytes.HasPrefix(got.Payload, unhex(t, v.Decoded.Prefix)) {
			t.Errorf("payload %x does not begin with %s", got.Payload, v.Decoded.Prefix)
		}
	case payload:
		if got.id != v.Decoded.id(t) || len(got.data) != v.Decoded.PayloadLen {
			t.Errorf("ParsePayload = %v, %d bytes, want %s, %d bytes", got.id, len(got.data), v.Decoded.ID, v.Decoded.PayloadLen)
		}
	case []byte:
		if len(got) != v.Decoded.PayloadLen {
			t.Errorf("ParseICMP = %d bytes, want %d", len(got), v.Decoded.PayloadLen)
		}
	case datagram.Response:
		want := datagram.Response{ID: v.Decoded.id(t), Result: v.Decoded.Result, Text: v.Decoded.text()}
		if ourV3[v.Name] != "" {
			want.Text = "abcd"
		}
		if got != want {
			t.Errorf("ParseResponse = %+v, want %+v", got, want)
		}
	}
}

type payload struct {
	id   datagram.ID
	data []byte
}

// parseV3 reads a datagram of any type.
func parseV3(b []byte) (any, error) {
	typ, err := datagram.TypeV3(b)
	if err != nil {
		return nil, err
	}
	switch typ {
	case datagram.V3Registration:
		return datagram.ParseRegistration(b)
	case datagram.V3Payload:
		id, data, err := datagram.ParsePayload(b)
		return payload{id, data}, err
	case datagram.V3ICMP:
		return datagram.ParseICMP(b)
	default:
		return datagram.ParseResponse(b)
	}
}

func TestTracingVectors(t *testing.T) {
	type vector struct {
		Text      string `json:"text"`
		Binary    string `json:"binary_hex"`
		Canonical string `json:"canonical_text"`
		Error     string `json:"error"`
		Panic     string `json:"panic"` // of the reference; ours is an error
	}
	for _, v := range loadVectors[vector](t, "tracing_identity") {
		t.Run(v.Text, func(t *testing.T) {
			got, err := datagram.ParseTracingText(v.Text)
			if v.Error != "" || v.Panic != "" {
				if !errors.Is(err, datagram.ErrTracing) {
					t.Errorf("ParseTracingText = %v, %v, want ErrTracing", got, err)
				}
				return
			}
			if err != nil || hex.EncodeToString(got.Append(nil)) != v.Binary || got.String() != v.Canonical {
				t.Errorf("ParseTracingText = %x, %v, text %s, want %s, %s", got.Append(nil), err, got, v.Binary, v.Canonical)
			}
			if again := tracing(t, v.Binary); again != got {
				t.Errorf("ParseTracing = %v, want %v", again, got)
			}
		})
	}
}
