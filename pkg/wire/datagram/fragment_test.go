package datagram_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// pieces gives the datagrams of a payload.
func pieces(t testing.TB, id byte, number uint16, payload []byte, v3 bool) [][]byte {
	t.Helper()
	fragments, err := datagram.Fragments(datagram.ID{id}, number, payload)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, f := range fragments {
		out = append(out, f.Append(nil, v3))
	}
	return out
}

func parse(t testing.TB, b []byte, v3 bool) datagram.Fragment {
	t.Helper()
	f, err := datagram.ParseFragment(b, v3)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func noise(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestFragmentsBothVersions(t *testing.T) {
	for _, v3 := range []bool{false, true} {
		for _, size := range []int{0, 1, 1144, 1145, 1281, 2288, 9000, 65507} {
			t.Run(fmt.Sprintf("v3=%v/%d", v3, size), func(t *testing.T) {
				payload, now := noise(size), time.Unix(1, 0)
				sent := pieces(t, 7, 9, payload, v3)
				rand.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
				var r datagram.Reassembler
				for i, b := range sent {
					if len(b) > datagram.FragmentSize+21 {
						t.Errorf("datagram of %d bytes", len(b))
					}
					got, lost := r.Add(parse(t, b, v3), now)
					if whole := i == len(sent)-1; whole != (got != nil) || lost != 0 || whole && !bytes.Equal(got, payload) {
						t.Fatalf("after %d of %d: %d bytes, %d lost", i+1, len(sent), len(got), lost)
					}
				}
			})
		}
	}
	if _, err := datagram.Fragments(datagram.ID{}, 0, make([]byte, 65508)); !errors.Is(err, datagram.ErrTooLarge) {
		t.Errorf("payload of 65508 bytes: %v", err)
	}
}

// TestFragmentBytes pins the layout that docs/extensions.md has.
func TestFragmentBytes(t *testing.T) {
	f := datagram.Fragment{ID: datagram.ID{0xaa, 15: 0xbb}, Number: 0x0102, Index: 1, Count: 2, Data: []byte("xy")}
	id := "aa0000000000000000000000000000bb"
	if got, want := fmt.Sprintf("%x", f.Append(nil, true)), "10"+id+"0102"+"01"+"02"+"7879"; got != want {
		t.Errorf("version 3: %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", f.Append(nil, false)), "7879"+"0102"+"01"+"02"+id+"10"; got != want {
		t.Errorf("version 2: %s, want %s", got, want)
	}
	for _, v3 := range []bool{false, true} {
		if f := parse(t, (&datagram.Fragment{}).Append(nil, v3), v3); f.Count != 0 {
			t.Errorf("zero fragment: %+v", f)
		}
	}
}

func TestFragmentsThatContradictThemselves(t *testing.T) {
	whole := make([]byte, datagram.FragmentSize)
	for name, c := range map[string]struct {
		f    datagram.Fragment
		want error
	}{
		"index beyond count":      {datagram.Fragment{Index: 2, Count: 2, Data: whole}, datagram.ErrFragment},
		"short one in the middle": {datagram.Fragment{Index: 0, Count: 2, Data: whole[1:]}, datagram.ErrFragment},
		"empty last one":          {datagram.Fragment{Index: 1, Count: 2}, datagram.ErrFragment},
		"none, with data":         {datagram.Fragment{Data: whole}, datagram.ErrFragment},
		"none, with an index":     {datagram.Fragment{Index: 1}, datagram.ErrFragment},
		"too large":               {datagram.Fragment{Count: 1, Data: make([]byte, len(whole)+1)}, datagram.ErrTooLarge},
		"too many":                {datagram.Fragment{Count: datagram.MaxFragments + 1, Data: whole}, datagram.ErrTooLarge},
		"beyond the largest payload": {
			datagram.Fragment{Index: datagram.MaxFragments - 1, Count: datagram.MaxFragments, Data: whole}, datagram.ErrTooLarge,
		},
	} {
		for _, v3 := range []bool{false, true} {
			if _, err := datagram.ParseFragment(c.f.Append(nil, v3), v3); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	}
}

func TestReassemblyIsBounded(t *testing.T) {
	now := time.Unix(1, 0)
	payload := noise(3 * datagram.FragmentSize)
	t.Run("of one session", func(t *testing.T) {
		var r datagram.Reassembler
		total := 0
		for n := range uint16(20) {
			_, lost := r.Add(parse(t, pieces(t, 1, n, payload, true)[0], true), now)
			total += lost
		}
		if total != 12 {
			t.Errorf("%d payloads given up, want 12", total)
		}
	})
	t.Run("of all sessions", func(t *testing.T) {
		var r datagram.Reassembler
		total := 0
		for id := range byte(100) {
			_, lost := r.Add(parse(t, pieces(t, id, 0, payload, true)[0], true), now)
			total += lost
		}
		if total != 36 {
			t.Errorf("%d payloads given up, want 36", total)
		}
	})
	t.Run("in bytes", func(t *testing.T) {
		var r datagram.Reassembler
		total, large := 0, noise(datagram.MaxFragmented)
		for id := range byte(17) {
			for _, b := range pieces(t, id, 0, large, true)[1:] {
				_, lost := r.Add(parse(t, b, true), now)
				total += lost
			}
		}
		if total != 1 { // 16 of them fit into 1 MiB
			t.Errorf("%d payloads given up, want 1", total)
		}
	})
	t.Run("in time", func(t *testing.T) {
		var r datagram.Reassembler
		sent := pieces(t, 1, 0, payload, true)
		r.Add(parse(t, sent[0], true), now)
		if _, lost := r.Add(parse(t, sent[1], true), now.Add(2*time.Second)); lost != 0 {
			t.Errorf("%d given up in time", lost)
		}
		if got, lost := r.Add(parse(t, sent[2], true), now.Add(2*time.Second+1)); lost != 1 || got != nil {
			t.Errorf("%d given up, %d bytes, want 1 and none", lost, len(got))
		}
	})
	t.Run("with a number that came round", func(t *testing.T) {
		var r datagram.Reassembler
		r.Add(parse(t, pieces(t, 1, 5, payload, true)[0], true), now)
		sent := pieces(t, 1, 5, payload[:2*datagram.FragmentSize], true)
		if _, lost := r.Add(parse(t, sent[0], true), now); lost != 1 {
			t.Errorf("%d given up, want 1", lost)
		}
		r.Add(parse(t, sent[0], true), now) // twice
		if got, _ := r.Add(parse(t, sent[1], true), now); len(got) != 2*datagram.FragmentSize {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// FuzzFragment parses anything as a fragment of either version: what parses encodes to the same bytes, and a Reassembler takes it.
func FuzzFragment(f *testing.F) {
	for _, v3 := range []bool{false, true} {
		f.Add((&datagram.Fragment{}).Append(nil, v3), v3)
		f.Add((&datagram.Fragment{ID: datagram.ID{1}, Count: 1, Data: []byte("x")}).Append(nil, v3), v3)
		f.Add((&datagram.Fragment{ID: datagram.ID{1}, Index: 1, Count: 2, Data: []byte("x")}).Append(nil, v3), v3)
	}
	f.Fuzz(func(t *testing.T, b []byte, v3 bool) {
		p, err := datagram.ParseFragment(b, v3)
		if err != nil {
			return
		}
		if again := p.Append(nil, v3); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		var r datagram.Reassembler
		first, _ := r.Add(p, time.Unix(1, 0))
		second, _ := r.Add(p, time.Unix(2, 0))
		if p.Count != 1 && (first != nil || second != nil) {
			t.Fatalf("a payload of %d fragments is complete with one", p.Count)
		}
	})
}
