package arch_test

import (
	"go/ast"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryParserIsFuzzed requires a fuzz test in each package that exports a function Parse... of bytes or text: such a
// function may get whatever a peer or a user writes.
func TestEveryParserIsFuzzed(t *testing.T) {
	// These parse one word of a configuration or of a command line with a table or with the standard library.
	exempt := []string{"pkg/telemetry", "pkg/edgepool", "pkg/protocol", "pkg/tunnel"}
	for _, p := range list(t) {
		var parser string
		fuzzed := false
		for _, name := range goFiles(t, p.Dir) {
			for _, d := range parse(t, filepath.Join(p.Dir, name)).file.Decls {
				f, ok := d.(*ast.FuncDecl)
				switch {
				case !ok:
				case strings.HasSuffix(name, "_test.go"):
					fuzzed = fuzzed || strings.HasPrefix(f.Name.Name, "Fuzz")
				case isParser(f):
					parser = f.Name.Name
				}
			}
		}
		if parser != "" && !fuzzed && !testSupport(p.rel()) && !strings.Contains(" "+strings.Join(exempt, " ")+" ", " "+p.rel()+" ") {
			t.Errorf("%s exports %s and has no fuzz test", p.rel(), parser)
		}
	}
}

// isParser reports whether f is an exported function Parse... whose first parameter is a string or a slice of bytes.
func isParser(f *ast.FuncDecl) bool {
	if f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Parse") || len(f.Type.Params.List) == 0 {
		return false
	}
	switch typ := f.Type.Params.List[0].Type.(type) {
	case *ast.Ident:
		return typ.Name == "string"
	case *ast.ArrayType:
		elem, ok := typ.Elt.(*ast.Ident)
		return ok && elem.Name == "byte"
	default:
		return false
	}
}
