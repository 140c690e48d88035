package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	figures := []figure{
		{"cold start", "all served", "s", 91.26, 120},
		{"cold start", "registrations in a second", "", 63, 50},
		{"steady", "operations", "/s", 0.0456, free},
	}
	var b bytes.Buffer
	if err := report(&b, figures); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := [][]string{
		{"part", "figure", "value", "bound"},
		{"cold", "start", "all", "served", "91.3", "s", "<=", "120"},
		{"registrations", "in", "a", "second", "63", "<=", "50", "missed"},
		{"steady", "operations", "0.046", "/s", "-"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), b.String())
	}
	for i, line := range lines {
		if got := strings.Join(strings.Fields(line), " "); got != strings.Join(want[i], " ") {
			t.Errorf("line %d is %q, want %q", i, got, strings.Join(want[i], " "))
		}
	}
	err := judge(figures)
	const want63 = "registrations in a second is 63, more than 50"
	if err == nil || !strings.Contains(err.Error(), want63) || strings.Contains(err.Error(), "served") {
		t.Errorf("judged: %v", err)
	}
	if err := judge(figures[:1]); err != nil {
		t.Errorf("judged: %v", err)
	}
}

func TestPeak(t *testing.T) {
	start := time.Unix(1000, 0)
	var times []time.Time
	for _, ms := range []int{2500, 0, 600, 999, 1001, 1500} {
		times = append(times, start.Add(time.Duration(ms)*time.Millisecond))
	}
	if got := peak(times); got != 4 { // from 600 to 1500
		t.Errorf("peak %d, want 4", got)
	}
	if got := peak(nil); got != 0 {
		t.Errorf("peak of nothing %d", got)
	}
}
