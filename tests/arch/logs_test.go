package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

// connectorTrees are the directories whose packages run in the process of a connector.
func connectorTrees() []string {
	return []string{"cli", "pkg", "services/conn-worker", "services/proxy", "services/supervisor", "services/discovery"}
}

// TestEveryLogMessageHasARow walks the source of what runs in a connector: each message that it logs has a row in the table of
// pkg/stocklog, which says what cloudflared writes at that moment, and no row is left over.
func TestEveryLogMessageHasARow(t *testing.T) {
	logged := map[string][]string{}
	for _, tree := range connectorTrees() {
		for dir, files := range sources(t, filepath.Join(root(t), tree)) {
			logMessages(t, dir, files, logged)
		}
	}
	for message, places := range logged {
		if _, ok := stocklog.Find(message); !ok {
			t.Errorf("%s: the log message %q has no row in pkg/stocklog: add one to its table (and run go test ./pkg/stocklog -update), "+
				"with the line that cloudflared writes at that moment, or own(...) when it has none", places[0], message)
		}
	}
	for _, row := range stocklog.Rows() {
		if len(logged[row.Ours]) == 0 {
			t.Errorf("pkg/stocklog has a row for %q, which nothing logs", row.Ours)
		}
	}
	if len(logged) < 80 {
		t.Errorf("found %d log messages: the search misses most of them", len(logged))
	}
}

// sources lists the Go files of production code below a directory, by directory.
func sources(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || strings.HasSuffix(name, "test") || name == "testkit") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			out[filepath.Dir(path)] = append(out[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logMessages adds the messages that one package logs, with the places where it does.
func logMessages(t *testing.T, dir string, files []string, into map[string][]string) {
	t.Helper()
	fset := token.NewFileSet()
	parsed := make([]*ast.File, len(files))
	constants := map[string]string{}
	for i, name := range files {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed[i] = f
		readConstants(f, constants)
	}
	for _, f := range parsed {
		methods := map[string]bool{} // variables that hold a method of a logger
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for i, right := range n.Rhs {
					if isLogMethod(right) && i < len(n.Lhs) {
						if name, ok := n.Lhs[i].(*ast.Ident); ok {
							methods[name.Name] = true
						}
					}
				}
			case *ast.CallExpr:
				name, ok := n.Fun.(*ast.Ident)
				if !isLogMethod(n.Fun) && (!ok || !methods[name.Name]) {
					return true
				}
				if message, found := messageOf(n.Args, constants); found {
					into[message] = append(into[message], relative(t, fset.Position(n.Pos())))
				} else {
					t.Errorf("%s: the message of this log line is no constant", relative(t, fset.Position(n.Pos())))
				}
			}
			return true
		})
	}
	_ = dir
}

// isLogMethod reports whether an expression is a method of a logger: its receiver has log in its name.
func isLogMethod(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{
		"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "Log", "LogAttrs",
	}, sel.Sel.Name) {
		return false
	}
	receiver := ""
	switch x := sel.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	case *ast.CallExpr:
		if fun, ok := x.Fun.(*ast.SelectorExpr); ok {
			receiver = fun.Sel.Name
		}
	}
	receiver = strings.ToLower(receiver)
	return strings.HasSuffix(receiver, "log") || strings.HasSuffix(receiver, "logger") || receiver == "with"
}

// messageOf gives the first argument that is a constant text.
func messageOf(args []ast.Expr, constants map[string]string) (string, bool) {
	for _, a := range args[:min(3, len(args))] {
		if text, ok := constantText(a, constants); ok {
			return text, true
		}
	}
	return "", false
}

// constantText evaluates literals, constants of the package, and their concatenation.
func constantText(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	case *ast.BinaryExpr:
		left, ok := constantText(e.X, constants)
		right, ok2 := constantText(e.Y, constants)
		return left + right, ok && ok2
	}
	return "", false
}

// readConstants adds the string constants of a file, those inside functions included.
func readConstants(f *ast.File, into map[string]string) {
	ast.Inspect(f, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			return true
		}
		for _, spec := range decl.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for i, name := range value.Names {
				if i < len(value.Values) {
					if text, ok := constantText(value.Values[i], into); ok {
						into[name.Name] = text
					}
				}
			}
		}
		return true
	})
}

func relative(t *testing.T, p token.Position) string {
	t.Helper()
	rel, err := filepath.Rel(root(t), p.Filename)
	if err != nil {
		t.Fatal(err)
	}
	return rel + ":" + strconv.Itoa(p.Line)
}
