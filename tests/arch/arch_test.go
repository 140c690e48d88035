package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/culvert-tunnel/culvert/"

// pkg is what `go list` says of one package.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Name       string
	GoFiles    []string
	Imports    []string
	Standard   bool
}

func (p pkg) rel() string { return strings.TrimPrefix(p.ImportPath, module) }

// pure lists the packages without clock, network and goroutines (levels L0 and L1), each with the third-party
// packages that it is allowed.
func pure() map[string][]string {
	return map[string][]string{
		"pkg/tunnel":          nil,
		"pkg/logkey":          nil,
		"pkg/redact":          nil,
		"pkg/lease":           nil,
		"pkg/backoff":         nil,
		"pkg/edgepool":        nil,
		"pkg/protocol":        nil,
		"pkg/fleet":           nil,
		"pkg/desired":         nil,
		"pkg/rules":           nil,
		"pkg/opstoken":        nil,
		"pkg/quota":           nil,
		"pkg/credential":      nil,
		"pkg/remoteconfig":    nil,
		"pkg/management":      {"github.com/golang-jwt/jwt/v5"},
		"pkg/wire/httpfield":  nil,
		"pkg/wire/stream":     nil,
		"pkg/wire/h2head":     nil,
		"pkg/wire/websocket":  nil,
		"pkg/wire/datagram":   nil,
		"pkg/wire/icmp":       nil,
		"pkg/link/packet":     nil,
		"pkg/wire/proxyproto": nil,
		"pkg/ingress":         {"golang.org/x/net/idna"},

		"pkg/redisstore/command": nil,

		"services/proxy/internal/h1/h1codec": nil,
		"services/proxy/internal/socks":      nil,
		"services/proxy/internal/policy":     nil,

		"services/proxy/internal/discovered":   nil,
		"services/proxy/internal/docker/label": nil,

		"services/proxy/internal/balance/decide": nil,

		"pkg/link/frame": nil,

		"pkg/transport/quic/internal/silence": nil,

		"pkg/control/admit":     nil,
		"pkg/control/hold":      nil,
		"pkg/control/keep":      nil,
		"pkg/control/look":      nil,
		"pkg/control/outage":    nil,
		"pkg/control/pass":      nil,
		"pkg/control/placement": nil,
		"pkg/control/plan":      nil,
		"pkg/control/register":  nil,
		"pkg/control/retain":    nil,
		"pkg/control/shard":     nil,
		"pkg/control/workqueue": nil,

		"services/edge/internal/h1guard":        nil,
		"services/edge/internal/headpolicy":     nil,
		"services/edge/internal/forwarded":      nil,
		"services/edge/internal/backlog/evict":  nil,
		"services/edge/internal/registry/doubt": nil,
		"services/edge/internal/route":          {"golang.org/x/net/idna"},
		"cli/internal/settings":                 nil,
		"cli/internal/precheck":                 nil,
		"cli/internal/diag/scrub":               nil,
		"cli/internal/diag/hops":                nil,
		"services/edge/internal/share":          nil,

		"services/edge/internal/catalog/document": nil,
		"services/edge/internal/zone/ratelimit":   {"golang.org/x/time/rate"},
	}
}

// impure lists what a pure package never imports.
func impure() []string {
	return []string{"net", "net/http", "os", "os/exec", "os/signal", "log", "log/slog", "context", "sync", "syscall", "testing"}
}

// wrappers says which packages alone may import a third-party library.
func wrappers() map[string][]string {
	return map[string][]string{
		"github.com/quic-go/quic-go":     {"pkg/transport/quic"},
		"github.com/redis/go-redis":      {"pkg/redisstore"},
		"github.com/alicebob/miniredis":  {"pkg/redisstore"},
		"golang.org/x/net/http2":         {"pkg/transport/h2"},
		"capnproto.org/go/capnp":         {"pkg/wire/schema", "pkg/wire/rpc"},
		"github.com/sony/gobreaker":      {"pkg/link", "services/discovery/internal/resolve", "services/proxy/internal/balance"},
		"github.com/urfave/cli":          {"cli"},
		"go.yaml.in/yaml":                {"pkg/config"},
		"github.com/pires/go-proxyproto": {"services/edge/internal/visitorconn"},
		"github.com/miekg/dns":           {"services/discovery", "services/edge", "services/proxy/internal/resolver"},
		"github.com/golang-jwt/jwt":      {"pkg/management"},
		"github.com/go-jose/go-jose":     {"services/proxy/internal/access"},
		"github.com/labstack/echo":       {"pkg/ops", "services/"},
		"github.com/prometheus/client_g": {"pkg/", "services/", "cli"},
	}
}

// l2 lists the packages of level L2; among themselves they may import only what the table says.
func l2() map[string][]string {
	return map[string][]string{
		"pkg/transport":               nil,
		"pkg/transport/quic":          {"pkg/transport"},
		"pkg/transport/mem":           {"pkg/transport"},
		"pkg/transport/h2":            {"pkg/transport"},
		"pkg/transport/transporttest": {"pkg/transport"},
		"pkg/link":                    {"pkg/filewatch", "pkg/rundir"},
		"pkg/link/linktest":           {"pkg/link"},
		"pkg/redisstore":              {"pkg/filewatch"},
		"pkg/redisstore/storetest":    {"pkg/redisstore"},
		"pkg/config":                  nil,
		"pkg/filewatch":               nil,
		"pkg/netwatch":                nil,
		"pkg/edgeroots":               nil,
		"pkg/config/cfdfile":          {"pkg/config"},
		"pkg/ops":                     {"pkg/filewatch", "pkg/rundir"},
		"pkg/opsapi":                  nil,
		"pkg/opsclient":               {"pkg/ops", "pkg/opsapi"},
		"pkg/rundir":                  nil,
		"pkg/telemetry":               nil,
		"pkg/logtail":                 {"pkg/telemetry", "pkg/stocklog"},
		"pkg/stocklog":                nil,
		"pkg/wire/rpc":                nil,
		"pkg/process":                 {"pkg/filewatch", "pkg/netwatch", "pkg/config", "pkg/logtail", "pkg/ops", "pkg/telemetry"},
		"pkg/process/stored":          {"pkg/process", "pkg/redisstore"},
	}
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,Name,GoFiles,Imports,Standard", "work")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list output: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 20 {
		t.Fatalf("go list found %d packages: the workspace is not what this test expects", len(pkgs))
	}
	return pkgs
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func ours(imp string) (string, bool) { return strings.CutPrefix(imp, module) }

func thirdParty(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".") && !strings.HasPrefix(imp, module)
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.rel())
		}
	}
}

func TestPurePackagesStayPure(t *testing.T) {
	for _, p := range list(t) {
		allowed, isPure := pure()[p.rel()]
		if !isPure {
			continue
		}
		for _, imp := range p.Imports {
			if rel, ok := ours(imp); ok {
				if _, fine := pure()[rel]; !fine {
					t.Errorf("%s imports %s, which is not pure", p.rel(), rel)
				}
			} else if thirdParty(imp) && !slices.Contains(allowed, imp) {
				t.Errorf("%s imports the third-party package %s", p.rel(), imp)
			} else if slices.Contains(impure(), imp) {
				t.Errorf("%s imports %s: a pure package has no clock, network, lock or log", p.rel(), imp)
			}
		}
		for _, f := range p.GoFiles {
			checkNoClock(t, filepath.Join(p.Dir, f))
		}
	}
}

// checkNoClock fails on go statements and on the functions of package time that read or wait for the clock.
func checkNoClock(t *testing.T, path string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("parse %s: %v", path, err)
	}
	forbidden := []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine in a pure package", fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && slices.Contains(forbidden, n.Sel.Name) {
				t.Errorf("%s uses time.%s in a pure package", fset.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}

func TestLevelTwoPackagesStandAlone(t *testing.T) {
	for _, p := range list(t) {
		allowed, isL2 := l2()[p.rel()]
		if !isL2 {
			continue
		}
		for _, imp := range p.Imports {
			rel, mine := ours(imp)
			if !mine {
				continue
			}
			if _, other := l2()[rel]; other && !slices.Contains(allowed, rel) {
				t.Errorf("%s imports %s: packages of level L2 do not import each other", p.rel(), rel)
			}
		}
	}
}

func TestNobodyImportsAgainstTheDirection(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			rel, mine := ours(imp)
			if !mine {
				continue
			}
			switch {
			case strings.HasPrefix(p.rel(), "pkg/") && !strings.HasPrefix(rel, "pkg/"):
				t.Errorf("%s imports %s: pkg knows no service", p.rel(), rel)
			case strings.HasPrefix(p.rel(), "services/") && strings.HasPrefix(rel, "services/") && service(p.rel()) != service(rel):
				t.Errorf("%s imports %s: services meet in the store or on a wire", p.rel(), rel)
			case strings.HasPrefix(rel, "cli") && !strings.HasPrefix(p.rel(), "cli"),
				strings.HasPrefix(rel, "tests") && !strings.HasPrefix(p.rel(), "tests"):
				t.Errorf("%s imports %s: nobody imports the top", p.rel(), rel)
			}
		}
	}
}

// service gives "services/edge" of "services/edge/internal/front".
func service(rel string) string {
	parts := strings.SplitN(rel, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func TestThirdPartyLibrariesHaveOneHome(t *testing.T) {
	for _, p := range list(t) {
		if strings.HasPrefix(p.rel(), "tests") {
			continue
		}
		for _, imp := range p.Imports {
			for lib, homes := range wrappers() {
				if !strings.HasPrefix(imp, lib) {
					continue
				}
				if !slices.ContainsFunc(homes, func(h string) bool { return strings.HasPrefix(p.rel(), h) }) {
					t.Errorf("%s imports %s, which belongs to %v alone", p.rel(), imp, homes)
				}
			}
		}
	}
}

// TestPartsDoNotKnowWhatIsNotTheirs holds the last column of the table in ARCHITECTURE.md.
func TestPartsDoNotKnowWhatIsNotTheirs(t *testing.T) {
	never := map[string]map[string]string{
		"services/conn-worker": {"pkg/ingress": "a worker knows no ingress rules"},
		"services/proxy":       {"pkg/transport/quic": "a proxy does not know which transport a request came through"},
		"services/supervisor":  {"pkg/link": "a supervisor carries no traffic", "pkg/transport/quic": "a supervisor holds no session"},
		"services/discovery":   {"pkg/link": "discovery carries no traffic", "pkg/transport/quic": "discovery holds no session"},
		"services/edge": {
			"pkg/ingress":    "ingress rules belong to the proxy",
			"pkg/redisstore": "the edge needs no store of the connector",
		},
	}
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			rel, _ := ours(imp)
			if why, bad := never[service(p.rel())][rel]; bad {
				t.Errorf("%s imports %s: %s", p.rel(), rel, why)
			}
		}
	}
}

// testSupport reports whether a package exists for tests: the kit, the contracts that implementations share, and the
// suites in tests.
func testSupport(rel string) bool {
	return rel == "pkg/testkit" || strings.HasSuffix(rel, "test") || strings.HasPrefix(rel, "tests/")
}

func TestProductionCodeDoesNotImportTestCode(t *testing.T) {
	for _, p := range list(t) {
		if testSupport(p.rel()) {
			continue
		}
		for _, imp := range p.Imports {
			if rel, mine := ours(imp); mine && testSupport(rel) || imp == "testing" {
				t.Errorf("%s imports %s: only tests may", p.rel(), imp)
			}
		}
	}
}

func TestFilesStayReadable(t *testing.T) {
	for _, p := range list(t) {
		for _, f := range p.GoFiles {
			if strings.HasSuffix(f, ".capnp.go") {
				continue
			}
			path := filepath.Join(p.Dir, f)
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatalf("parse %s: %v", path, err)
			}
			if lines := fset.File(file.Pos()).LineCount(); lines > 500 {
				t.Errorf("%s/%s has %d lines, more than 500", p.rel(), f, lines)
			}
		}
	}
}
