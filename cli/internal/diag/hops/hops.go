package hops

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Hop is one hop of a route, as network.json has it.
type Hop struct {
	Hop uint8 `json:"hop,omitempty"`
	// Domain is the name and address of the hop, * if it did not respond.
	Domain string `json:"domain,omitempty"`
	// RTTs are the round-trip times. The reference stores microseconds in a field of nanoseconds; its readers expect that.
	RTTs []time.Duration `json:"rtts,omitempty"`
}

// Parse reads the output of traceroute. Lines that are no hop are skipped.
func Parse(output string) []Hop {
	var all []Hop
	for line := range strings.Lines(output) {
		if h, ok := parseLine(line); ok {
			all = append(all, h)
		}
	}
	return all
}

// parseLine reads a line such as "2  gw.example (192.0.2.1)  1.2 ms * 0.9 ms".
func parseLine(line string) (Hop, bool) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return Hop{}, false
	}
	n, err := strconv.ParseUint(words[0], 10, 8)
	if err != nil {
		return Hop{}, false
	}
	h := Hop{Hop: uint8(n)}
	var names []string
	for _, w := range words[1:] {
		if w == "*" || w == "ms" {
			continue
		}
		ms, err := strconv.ParseFloat(w, 64)
		if err != nil {
			names = append(names, w)
			continue
		}
		if us := ms * 1000; us >= 0 && us < math.MaxInt32 {
			h.RTTs = append(h.RTTs, time.Duration(us))
		}
	}
	switch h.Domain = strings.Join(names, " "); {
	case h.Domain == "" && len(h.RTTs) > 0:
		return Hop{}, false // times without an address
	case h.Domain == "":
		h.Domain = "*"
	}
	return h, true
}
