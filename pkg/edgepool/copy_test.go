package edgepool_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

func saved(t testing.TB) (edgepool.Pool, []byte) {
	t.Helper()
	p := edgepool.Pool{Version: 7, Source: edgepool.SourceSRV, FetchedAt: time.Unix(1700000000, 0).UTC(), Regions: []edgepool.RegionPool{
		edgepool.NewRegion("region1", []netip.AddrPort{
			netip.MustParseAddrPort("198.41.192.7:7844"), netip.MustParseAddrPort("[2606:4700::1]:7844"),
		}),
		edgepool.NewRegion("region2", []netip.AddrPort{netip.MustParseAddrPort("198.41.200.7:7844")}),
	}, ProtocolTXT: `[{"protocol":"quic","percentage":100}]`}
	file, err := edgepool.EncodeCopy(edgepool.Copy{Name: "n", Identity: "id", Pool: p})
	if err != nil {
		t.Fatal(err)
	}
	return p, file
}

func TestCopy(t *testing.T) {
	p, file := saved(t)
	got, err := edgepool.DecodeCopy(file, "n", "id")
	if err != nil || !edgepool.Same(got, p) || got.Source != p.Source || !got.FetchedAt.Equal(p.FetchedAt) || got.Version != 0 {
		t.Errorf("DecodeCopy = %+v, %v", got, err)
	}
	other := bytes.Replace(file, []byte("198.41.192.7"), []byte("198.41.192.8"), 1)
	newer := bytes.Replace(file, []byte(`"format":1`), []byte(`"format":2`), 1)
	for name, tc := range map[string]struct {
		file           []byte
		pool, identity string
		want           error
		text           string
	}{
		"empty":            {nil, "n", "id", edgepool.ErrDamagedCopy, "unexpected end"},
		"cut":              {file[:len(file)/2], "n", "id", edgepool.ErrDamagedCopy, "unexpected end"},
		"one address":      {other, "n", "id", edgepool.ErrDamagedCopy, "SHA-256"},
		"a newer form":     {newer, "n", "id", edgepool.ErrDamagedCopy, "format 2, want 1"},
		"large":            {bytes.Repeat([]byte(" "), edgepool.MaxCopyBytes+1), "n", "id", edgepool.ErrDamagedCopy, "more than"},
		"another name":     {file, "other", "id", edgepool.ErrForeignCopy, `"n" (id), want "other" (id)`},
		"another identity": {file, "n", "other", edgepool.ErrForeignCopy, "want"},
	} {
		if got, err := edgepool.DecodeCopy(tc.file, tc.pool, tc.identity); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: DecodeCopy = %+v, %v, want %v with %q", name, got, err, tc.want, tc.text)
		}
	}
	none, err := edgepool.EncodeCopy(edgepool.Copy{Name: "n", Identity: "id"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := edgepool.DecodeCopy(none, "n", "id"); !errors.Is(err, edgepool.ErrDamagedCopy) {
		t.Errorf("a copy without an address: %v", err)
	}
}

// FuzzDecodeCopy: whatever the file has, the result is an error or a pool that can be used, and that survives another round.
func FuzzDecodeCopy(f *testing.F) {
	_, file := saved(f)
	f.Add(file)
	f.Add([]byte(`{"format":1,"sha256":"","content":null}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := edgepool.DecodeCopy(file, "n", "id")
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("DecodeCopy accepted a pool that is not valid: %v", err)
		}
		again, err := edgepool.EncodeCopy(edgepool.Copy{Name: "n", Identity: "id", Pool: p})
		if err != nil {
			t.Fatal(err)
		}
		if q, err := edgepool.DecodeCopy(again, "n", "id"); err != nil || !edgepool.Same(p, q) {
			t.Errorf("second round: %+v, %v", q, err)
		}
	})
}
