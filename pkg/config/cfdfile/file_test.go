package cfdfile_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func ptr[T any](v T) *T { return &v }

const everyKey = `
tunnel: my-tunnel
credentials-file: /etc/creds.json
originRequest: &defaults
  connectTimeout: 1m
  tlsTimeout: 1s
  tcpKeepAlive: -1s
  noHappyEyeballs: true
  keepAliveConnections: 1
  keepAliveTimeout: 3s
  httpHostHeader: abc
  originServerName: a1
  matchSNItoHost: true
  caPool: /etc/path0
  noTLSVerify: yes
  disableChunkedEncoding: true
  http2Origin: true
  bastionMode: false
  proxyAddress: 127.1.2.3
  proxyPort: 100
  proxyType: ""
  responseHeaderTimeout: 5s
  ipRules:
  - {prefix: 10.0.0.0/8, ports: [8080, 80], allow: true}
  - {ports: }
  access: {required: true, teamName: t, audTag: [x, 7], environment: fed}
warp-routing:
  connectTimeout: 1m30s
  tcpKeepAlive: 10s
  maxActiveFlows: 77
ingress:
- hostname: a.example.com
  path: ^/x
  service: https://localhost:1
  originRequest:
    connectTimeout: 0s
    httpHostHeader:
    access:
- service: 404
protocol: quic
retries: 0x10
no-autoupdate: True
grace-period: 30s
ha-connections: 1_000
tag: [a=1, b=2]
edge: &list
- 1.2.3.4:7844
post-quantum: on
list2: *list
nothing:
empty: []
mapping: {a: 1}
mixed: [a, {b: c}]
`

func TestParseEveryKey(t *testing.T) {
	got, err := cfdfile.Parse("p.yml", []byte(everyKey))
	if err != nil {
		t.Fatal(err)
	}
	want := &cfdfile.File{
		Path: "p.yml", Tunnel: "my-tunnel", CredentialsFile: "/etc/creds.json",
		Document: ingress.Document{
			Ingress: []ingress.RuleSpec{
				{
					Hostname: "a.example.com", Path: "^/x", Service: "https://localhost:1",
					OriginRequest: ingress.OriginSpec{ConnectTimeout: ptr(time.Duration(0))},
				},
				{Service: "404"},
			},
			OriginRequest: ingress.OriginSpec{
				ConnectTimeout: ptr(time.Minute), TLSTimeout: ptr(time.Second), TCPKeepAlive: ptr(-time.Second),
				NoHappyEyeballs: ptr(true), KeepAliveConnections: ptr(1), KeepAliveTimeout: ptr(3 * time.Second),
				HTTPHostHeader: ptr("abc"), OriginServerName: ptr("a1"), MatchSNIToHost: ptr(true), CAPool: ptr("/etc/path0"),
				NoTLSVerify: ptr(true), DisableChunkedEncoding: ptr(true), HTTP2Origin: ptr(true), BastionMode: ptr(false),
				ProxyAddress: ptr("127.1.2.3"), ProxyPort: ptr(uint(100)), ProxyType: ptr(""),
				ResponseHeaderTimeout: ptr(5 * time.Second),
				IPRules:               []ingress.IPRuleSpec{{Prefix: ptr("10.0.0.0/8"), Ports: []int{8080, 80}, Allow: true}, {}},
				Access:                &ingress.AccessSpec{Required: true, TeamName: "t", AudTag: []string{"x", "7"}, Environment: "fed"},
			},
			WarpRouting: ingress.WarpSpec{
				ConnectTimeout: ptr(90 * time.Second), TCPKeepAlive: ptr(10 * time.Second), MaxActiveFlows: ptr(uint64(77)),
			},
		},
		Flags: map[string][]string{
			"protocol": {"quic"}, "retries": {"16"}, "no-autoupdate": {"true"}, "grace-period": {"30s"},
			"ha-connections": {"1000"}, "tag": {"a=1", "b=2"}, "edge": {"1.2.3.4:7844"}, "post-quantum": {"on"},
			"list2": {"1.2.3.4:7844"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse() differs (-want +got):\n%s", diff)
	}
}

func TestParseMergesAndAliases(t *testing.T) {
	got, err := cfdfile.Parse("p.yml", []byte(`
a: &a {hostname: from-a, path: from-a}
b: &b {hostname: from-b, service: from-b}
ingress:
- {<<: *a, service: own}
- {service: own, <<: [*a, *b]}
- <<: *b
  path: own
- &c {<<: *a, service: c}
- *c
- "<<": not a merge
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []ingress.RuleSpec{
		{Hostname: "from-a", Path: "from-a", Service: "own"},
		{Hostname: "from-a", Path: "from-a", Service: "own"},
		{Hostname: "from-b", Path: "own", Service: "from-b"},
		{Hostname: "from-a", Path: "from-a", Service: "c"},
		{Hostname: "from-a", Path: "from-a", Service: "c"},
		{},
	}
	if diff := cmp.Diff(want, got.Document.Ingress); diff != "" {
		t.Errorf("rules differ (-want +got):\n%s", diff)
	}
	if len(got.UnusedKeys) != 1 || !strings.Contains(got.UnusedKeys[0], "field << not found in ingress rule") {
		t.Errorf("unused keys = %q", got.UnusedKeys)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{
			"tab", "ingress:\n\t- service: http_status:404\n",
			"line 2, column 1: found character that cannot start any token",
		},
		{
			"quote", "tunnel: x\ningress:\n- service: 'http\n", "line 3, column 12: found unexpected end of stream",
		},
		{
			"indentation", "ingress:\n- hostname: a\n service: b\n", "line 3, column 2: did not find expected key (reported for line 2)",
		},
		{"control character", "tunnel: \x01\n", "line 1, column 9: control characters are not allowed"},
		{"unknown anchor", "tunnel: *x\n", "line 1, column 10: unknown anchor 'x' referenced"},
		{"root", "[1]\n", "line 1, column 1: cannot unmarshal !!seq into configuration"},
		{"scalar root", "hello\n", "line 1, column 1: cannot unmarshal !!str `hello` into configuration"},
		{"rules", "ingress:\n  service: x\n", "line 2, column 3: cannot unmarshal !!map into a list of ingress rules"},
		{"rule", "ingress:\n- a rather long text\n", "line 2, column 3: cannot unmarshal !!str `a rather l...` into ingress rule"},
		{"text", "tunnel: [a]\n", "line 1, column 9: cannot unmarshal !!seq into string"},
		{"tags", "originRequest:\n  access: {audTag: x}\n", "line 2, column 20: cannot unmarshal !!str `x` into a list of string"},
		{"number", "originRequest:\n  proxyPort: -1\n", "line 2, column 14: cannot unmarshal !!int `-1` into uint"},
		{"duplicate", "ingress:\n- path: a\n  path: b\n", `line 3, column 3: mapping key "path" already defined at line 2`},
		{"duplicate flag", "a: 1\na: 2\n", `line 2, column 1: mapping key "a" already defined at line 1`},
		{"merge", "ingress:\n- {<<: x}\n", "line 2, column 8: map merge requires map or sequence of maps as the value"},
		{"loop", "ingress:\n- &a {<<: *a}\n", "line 2, column 3: merged mappings are nested too deep, or contain themselves"},
		{
			"two", "originRequest:\n  connectTimeout: 30\n  tlsTimeout: 1d\n",
			"line 2, column 19: cannot unmarshal !!int `30` into time.Duration; line 3, column 15: cannot unmarshal !!str `1d` into time.Duration",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cfdfile.Parse("/etc/x.yml", []byte(tt.yaml))
			if want := "error parsing YAML in config file at /etc/x.yml: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("Parse()\n got %v\nwant %s", err, want)
			}
			var e *cfdfile.Error
			if !errors.As(err, &e) || e.Path != "/etc/x.yml" || len(e.Problems) == 0 {
				t.Errorf("error %#v", err)
			}
		})
	}
}

func TestParseNamesAtMostTenProblems(t *testing.T) {
	_, err := cfdfile.Parse("p", []byte("ingress:\n"+strings.Repeat("- x\n", 12)))
	if err == nil || strings.Count(err.Error(), "line ") != 10 || !strings.HasSuffix(err.Error(), "; and 2 more") {
		t.Errorf("error %v", err)
	}
}

// TestParseBoundsAliases parses a file whose aliases expand to more nodes than fit into memory.
func TestParseBoundsAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("x: &r {ipRules: [" + strings.Repeat("{},", 2000) + "]}\n")
	b.WriteString("y: &l [" + strings.Repeat("{originRequest: *r},", 2000) + "]\ningress: *l\n")
	_, err := cfdfile.Parse("p", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "too large once its aliases are followed") || strings.Contains(err.Error(), ";") {
		t.Errorf("error %v", err)
	}
	if _, err := cfdfile.Parse("p", make([]byte, cfdfile.MaxSize+1)); err == nil || err.Error() != "config file at p is larger than 8 MiB" {
		t.Errorf("error %v", err)
	}
}

func TestParseEmptyAndFirstDocument(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# only a comment\n", "---\n", "null\n", "--- \n...\n"} {
		f, err := cfdfile.Parse("p", []byte(text))
		if err != nil || !f.Empty || len(f.Document.Ingress) != 0 {
			t.Errorf("Parse(%q) = %+v, %v", text, f, err)
		}
	}
	f, err := cfdfile.Parse("p", []byte("tunnel: first\n---\ntunnel: [second]\n"))
	if err != nil || f.Tunnel != "first" || f.Empty {
		t.Errorf("Parse() = %+v, %v", f, err)
	}
}

// TestProblemsOfExtensionsAreWarnings gives a value of a wrong type to each key that the reference does not know.
func TestProblemsOfExtensionsAreWarnings(t *testing.T) {
	f, err := cfdfile.Parse("p", []byte("warp-routing:\n  proxyProtocol: [v1]\n  ipRules: {a: b}\n"+
		"ingress:\n- service: hello_world\n  originRequest:\n    responseHeaderTimeout: 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"line 2, column 18: cannot unmarshal !!seq into string; the setting is ignored",
		"line 3, column 12: cannot unmarshal !!map into a list of ipRules; the setting is ignored",
		"line 7, column 28: cannot unmarshal !!int `5` into time.Duration; the setting is ignored",
	}
	if diff := cmp.Diff(want, f.UnusedKeys); diff != "" {
		t.Errorf("warnings differ (-want +got):\n%s", diff)
	}
	if set, err := ingress.Compile(f.Document); err != nil || len(set.WarpRouting.IPRules) != 1 {
		t.Errorf("a malformed policy must deny everything: %v, %v", set, err)
	}
}

func TestUnusedKeys(t *testing.T) {
	f, err := cfdfile.Parse("p", []byte(`
unknownTop: 1
originRequest:
  noTlsVerify: true
  matchSNIToHost: true
  access: {x: 1}
  ipRules: [{prefixes: 1}]
warp-routing:
  enabled: true
ingress:
- hostName: a
  ? [complex]
  : 1
  service: http_status:404
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"line 4, column 3: field noTlsVerify not found in originRequest (did you mean noTLSVerify?)",
		"line 5, column 3: field matchSNIToHost not found in originRequest (did you mean matchSNItoHost?)",
		"line 6, column 12: field x not found in access",
		"line 7, column 14: field prefixes not found in ipRules",
		"line 9, column 3: field enabled not found in warp-routing",
		"line 11, column 3: field hostName not found in ingress rule (did you mean hostname?)",
		"line 12, column 5: field  not found in ingress rule",
	}
	if diff := cmp.Diff(want, f.UnusedKeys); diff != "" {
		t.Errorf("unused keys differ (-want +got):\n%s", diff)
	}
}

// TestDecodeVectors covers what the vectors say about decoding; package ingress tests the rest of the file.
func TestDecodeVectors(t *testing.T) {
	b, err := os.ReadFile("../../ingress/testdata/config_validation.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name     string `json:"name"`
			YAML     string `json:"yaml"`
			Class    string `json:"error_class"`
			Text     string `json:"error_text"`
			Warnings string `json:"strict_warnings"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	// The reference's text where it holds a type name of its own.
	ours := map[string]string{"ingress is a mapping": "cannot unmarshal !!map into a list of ingress rules"}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			f, err := cfdfile.Parse("CONFIG", []byte(c.YAML))
			if (err != nil) != (c.Class == "yaml_decode") {
				t.Fatalf("Parse() = %v, want class %q", err, c.Class)
			}
			if err != nil {
				place, text := splitPlace(t, c.Text)
				if own, ok := ours[c.Name]; ok {
					text = own
				}
				if got := err.Error(); !strings.Contains(got, place+", column ") || !strings.HasSuffix(got, ": "+text) {
					t.Errorf("error %q, want %s and %q", got, place, text)
				}
				return
			}
			if (len(f.UnusedKeys) > 0) != (c.Warnings != "") {
				t.Fatalf("unused keys %q, want %q", f.UnusedKeys, c.Warnings)
			}
			for _, unused := range f.UnusedKeys {
				place, text := splitPlace(t, c.Warnings)
				field, _, _ := strings.Cut(text, " in type ")
				if !strings.HasPrefix(unused, place+", column ") || !strings.Contains(unused, ": "+field+" in ") {
					t.Errorf("unused key %q, want %s and %q", unused, place, field)
				}
			}
		})
	}
}

// splitPlace takes "line N" and the text from the end of the library's message.
func splitPlace(t *testing.T, message string) (place, text string) {
	t.Helper()
	at := strings.LastIndex(message, "line ")
	place, text, ok := strings.Cut(message[max(at, 0):], ": ")
	if !ok || at < 0 {
		t.Fatalf("no place in %q", message)
	}
	return place, text
}

func TestReadAndFind(t *testing.T) {
	home := t.TempDir()
	if got, ok := cfdfile.Find(cfdfile.Dirs(home)[:3], cfdfile.Exists); ok {
		t.Fatalf("Find() = %s in an empty directory", got)
	}
	dir := filepath.Join(home, ".cloudflare-warp")
	if err := os.MkdirAll(filepath.Join(dir, "config.yml"), 0o700); err != nil { // a directory is no file
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte("tunnel: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, ok := cfdfile.Find(cfdfile.Dirs(home), cfdfile.Exists)
	if !ok || got != path {
		t.Fatalf("Find() = %s, %v, want %s", got, ok, path)
	}
	f, err := cfdfile.Read(got)
	if err != nil || f.Tunnel != "x" || f.Path != path {
		t.Fatalf("Read() = %+v, %v", f, err)
	}
	_, err = cfdfile.Read(filepath.Join(dir, "missing.yml"))
	if want := "open " + filepath.Join(
		dir,
		"missing.yml",
	) + ": no such file or directory"; !errors.Is(err, fs.ErrNotExist) ||
		err.Error() != want {
		t.Errorf("Read() = %v", err)
	}
	if _, err := cfdfile.Read(dir); err == nil {
		t.Error("Read() of a directory succeeded")
	}
}

func TestSearchOrder(t *testing.T) {
	var tried []string
	cfdfile.Find(cfdfile.Dirs("/home/u"), func(path string) bool { tried = append(tried, path); return false })
	want := []string{
		"/home/u/.cloudflared/config.yml", "/home/u/.cloudflared/config.yaml",
		"/home/u/.cloudflare-warp/config.yml", "/home/u/.cloudflare-warp/config.yaml",
		"/home/u/cloudflare-warp/config.yml", "/home/u/cloudflare-warp/config.yaml",
		"/etc/cloudflared/config.yml", "/etc/cloudflared/config.yaml",
		"/usr/local/etc/cloudflared/config.yml", "/usr/local/etc/cloudflared/config.yaml",
	}
	if diff := cmp.Diff(want, tried); diff != "" {
		t.Errorf("order differs (-want +got):\n%s", diff)
	}
	if dirs := cfdfile.Dirs(""); len(dirs) != 2 {
		t.Errorf("Dirs without home = %q", dirs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte("a: &a {<<: *a}\ningress: [*a]\n"))
	f.Add([]byte("ingress:\n\t- x\n"))
	f.Add([]byte("originRequest: {connectTimeout: 30}\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := cfdfile.Parse("p", b)
		var e *cfdfile.Error
		if errors.As(err, &e) {
			for _, p := range e.Problems {
				if p.Line < 1 || p.Column < 1 || p.Text == "" {
					t.Fatalf("problem %+v", p)
				}
			}
			if strings.ContainsAny(e.Path, "\n") {
				t.Fatal("path changed")
			}
			return
		}
		if err != nil || file == nil {
			t.Fatalf("Parse() = %v, %v", file, err)
		}
		if set, err := ingress.Compile(file.Document); err == nil {
			set.Match("a.example.com", "/")
		}
	})
}

func TestKeysOfOurOwn(t *testing.T) {
	f, err := cfdfile.Parse("config.yml", []byte(`
common: &common {interval: 3s, fall: 2}
ingress:
  - service: http://a
    services: [http://a, {service: http://b, weight: 2}]
    balance: {healthCheck: {<<: *common, path: /up}}
  - service: http://c
    services: {not: a list}
    balance: {polcy: hash}
  - service: http_status:404
    balance: ~
`))
	if err != nil {
		t.Fatal(err)
	}
	first := f.Document.Ingress[0]
	if len(first.Services) != 2 || first.Services[1].Service != "http://b" || *first.Services[1].Weight != 2 {
		t.Errorf("services %+v", first.Services)
	}
	check := first.Balance.Check
	if check.Path != "/up" || time.Duration(*check.Interval) != 3*time.Second || *check.Fall != 2 {
		t.Errorf("check %+v", check)
	}
	second := f.Document.Ingress[1]
	if second.Services != nil || second.Balance != nil {
		t.Errorf("malformed keys have values: %+v", second)
	}
	if len(f.UnusedKeys) != 2 || !strings.Contains(f.UnusedKeys[0], "line 8") || !strings.Contains(f.UnusedKeys[1], `unknown field "polcy"`) {
		t.Errorf("warnings %q, want one for each malformed key with its place", f.UnusedKeys)
	}
}
