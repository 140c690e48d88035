package main

import (
	"strings"
	"testing"
)

const passing = `{"Action":"start","Package":"github.com/culvert-tunnel/culvert/pkg/a"}
{"Action":"run","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestOne"}
{"Action":"output","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"pass","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestOne","Elapsed":1.5}
{"Action":"output","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestTwo","Output":"    a_test.go:9: long test: a lease\n"}
{"Action":"output","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestTwo","Output":"--- SKIP: TestTwo (0.00s)\n"}
{"Action":"skip","Package":"github.com/culvert-tunnel/culvert/pkg/a","Test":"TestTwo","Elapsed":0}
{"Action":"output","Package":"github.com/culvert-tunnel/culvert/pkg/a","Output":"ok  \tgithub.com/culvert-tunnel/culvert/pkg/a\t1.6s\n"}
{"Action":"pass","Package":"github.com/culvert-tunnel/culvert/pkg/a","Elapsed":1.6}
`

const failing = `{"Action":"output","Package":"p","Test":"TestBad","Output":"    b_test.go:3: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.10s)\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":0.1}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":0.2}
`

const panicking = `{"Action":"output","Package":"p","Test":"TestPanic","Output":"=== RUN   TestPanic\n"}
{"Action":"output","Package":"p","Test":"TestPanic","Output":"panic: index out of range\n"}
{"Action":"output","Package":"p","Output":"exit status 2\n"}
{"Action":"fail","Package":"p","Elapsed":0.2}
`

const notBuilt = `{"ImportPath":"p","Action":"build-output","Output":"./x.go:1:1: undefined: y\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}
`

func TestReport(t *testing.T) {
	for name, tt := range map[string]struct {
		input string
		ok    bool
		want  []string // in this order
	}{
		"passed": {passing, true, []string{
			"ok  \tgithub.com/culvert-tunnel/culvert/pkg/a\t1.6s\n",
			"\n1 packages: 1 tests passed, 1 skipped, 0 failed\n",
			"slowest tests:\n    1.50s  pkg/a TestOne\n",
			"skipped tests:\n  long test: a lease\n    pkg/a TestTwo\n",
		}},
		"failed test": {failing, false, []string{
			"b_test.go:3: got 1, want 2\n--- FAIL: TestBad (0.10s)\n", "FAIL\tp\t0.200s\n", "failed: p TestBad\nFAIL\n",
		}},
		"panic":            {panicking, false, []string{"exit status 2\n", "panic: index out of range\n", "FAIL\tp\t0.200s\n", "FAIL\n"}},
		"failed build":     {notBuilt, false, []string{"./x.go:1:1: undefined: y\n", "FAIL\tp\t0.000s\n", "FAIL\n"}},
		"no result at all": {"go: no such module\n", false, []string{"go: no such module\n", "0 packages", "FAIL\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(tt.input), &out)
			if err != nil || ok != tt.ok {
				t.Errorf("run = %v, %v, want %v", ok, err, tt.ok)
			}
			rest := out.String()
			for _, want := range tt.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("output has no %q after what came before it:\n%s", want, out.String())
				}
				rest = after
			}
		})
	}
}
