package stream_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// vectorPair is one metadata entry of a recorded message; ValHex replaces Val where the value is not UTF-8.
type vectorPair struct {
	Key    string  `json:"key"`
	Val    string  `json:"val"`
	ValHex *string `json:"val_hex"`
}

func pairsOf(t testing.TB, in []vectorPair) []stream.Pair {
	t.Helper()
	var out []stream.Pair
	for _, p := range in {
		if p.ValHex != nil {
			p.Val = string(unhex(t, *p.ValHex))
		}
		out = append(out, stream.Pair{Key: p.Key, Val: p.Val})
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("vector is not hex: %v", err)
	}
	return b
}

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

type requestVector struct {
	Name     string       `json:"name"`
	Hex      string       `json:"hex"`
	Dest     string       `json:"dest"`
	Type     uint16       `json:"type"`
	Metadata []vectorPair `json:"metadata"`
}

type responseVector struct {
	Name     string       `json:"name"`
	Hex      string       `json:"hex"`
	Error    string       `json:"error"`
	Metadata []vectorPair `json:"metadata"`
}

func TestRequestVectors(t *testing.T) {
	for _, v := range loadVectors[requestVector](t, "connect_request") {
		t.Run(v.Name, func(t *testing.T) {
			in := unhex(t, v.Hex)
			want := stream.Request{Dest: v.Dest, Type: stream.Type(v.Type), Metadata: pairsOf(t, v.Metadata)}
			var got stream.Request
			n, err := stream.ParseRequest(append(in, "body"...), &got)
			if want.Type > stream.TCP {
				if !errors.Is(err, stream.ErrUnknownType) {
					t.Errorf("ParseRequest: error %v, want ErrUnknownType", err)
				}
			} else if err != nil {
				t.Fatalf("ParseRequest: %v", err)
			}
			if n != len(in) {
				t.Errorf("ParseRequest: n = %d, want %d", n, len(in))
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParseRequest (-want +got):\n%s", diff)
			}
			for cut := range in {
				if n, err := stream.ParseRequest(in[:cut], &got); !errors.Is(err, stream.ErrShort) || n <= cut || n > len(in) {
					t.Fatalf("ParseRequest of %d bytes: n = %d, error %v, want ErrShort and n in (%d, %d]", cut, n, err, cut, len(in))
				}
			}
		})
	}
}

func TestResponseVectors(t *testing.T) {
	for _, v := range loadVectors[responseVector](t, "connect_response") {
		t.Run(v.Name, func(t *testing.T) {
			in := unhex(t, v.Hex)
			want := stream.Response{Error: v.Error, Metadata: pairsOf(t, v.Metadata)}
			var got stream.Response
			n, err := stream.ParseResponse(append(in, "body"...), &got)
			if err != nil || n != len(in) {
				t.Fatalf("ParseResponse = %d, %v, want %d", n, err, len(in))
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParseResponse (-want +got):\n%s", diff)
			}
			for cut := range in {
				if n, err := stream.ParseResponse(in[:cut], &got); !errors.Is(err, stream.ErrShort) || n <= cut || n > len(in) {
					t.Fatalf("ParseResponse of %d bytes: n = %d, error %v, want ErrShort and n in (%d, %d]", cut, n, err, cut, len(in))
				}
			}
		})
	}
}

func TestPrologueVectors(t *testing.T) {
	type vector struct {
		Name         string  `json:"name"`
		SignatureHex string  `json:"signature_hex"`
		InputHex     *string `json:"input_hex"`
	}
	want := map[string]error{
		"server_reads_valid":           nil,
		"server_ignores_version_value": nil,
		"server_unknown_signature":     stream.ErrUnknownSignature,
		"server_short_signature":       stream.ErrShort,
		"server_eof":                   stream.ErrShort,
		"server_signature_only":        stream.ErrShort,
		"server_truncated_message":     stream.ErrShort,
		"server_huge_segment_count":    stream.ErrMalformed,
	}
	kinds := map[string]stream.Kind{"data": stream.KindData, "rpc": stream.KindRPC}
	for _, v := range loadVectors[vector](t, "stream_prologue") {
		if v.InputHex == nil {
			kind, err := stream.Detect(unhex(t, v.SignatureHex))
			if err != nil || kind != kinds[v.Name] {
				t.Errorf("Detect(%s) = %v, %v", v.Name, kind, err)
			}
			continue
		}
		wantErr, known := want[v.Name]
		if !known {
			t.Errorf("vector %s is not covered", v.Name)
		}
		var got stream.Request
		_, err := stream.ParseRequest(unhex(t, *v.InputHex), &got)
		if !errors.Is(err, wantErr) {
			t.Errorf("ParseRequest(%s): error %v, want %v", v.Name, err, wantErr)
		}
		if err == nil && got.Dest != "a:1" {
			t.Errorf("ParseRequest(%s): dest %q", v.Name, got.Dest)
		}
	}
}

func TestDetectShort(t *testing.T) {
	for _, sig := range []string{"\x0a\x36\xcd\x12\xa1\x3e", stream.RPCSignature} {
		for n := range len(sig) {
			if _, err := stream.Detect([]byte(sig[:n])); !errors.Is(err, stream.ErrShort) {
				t.Errorf("Detect(%x): error %v, want ErrShort", sig[:n], err)
			}
		}
	}
	if _, err := stream.Detect([]byte{0x0a, 0x37}); !errors.Is(err, stream.ErrUnknownSignature) {
		t.Errorf("Detect(0a37): error %v, want ErrUnknownSignature at once", err)
	}
}
