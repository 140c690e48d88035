package arch_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// The limits of the tree. A limit only ever gets stricter.
const (
	minPureShare = 0.22 // lines in pure packages, of all production lines
	minTestRatio = 0.8  // lines of tests per production line
	maxDepth     = 9    // packages in the longest chain of imports of our own packages
	maxFanOut    = 14   // imports of our own packages by one package
	maxFunction  = 80   // lines of one function
	maxFile      = 500  // lines of one file
)

// measures describe the size and the structure of the tree. Generated code counts nowhere.
type measures struct {
	code, pure, test     int // lines
	chain                []string
	fanOut               map[string]int
	exported, documented int
	undocumented         []string
	longFunctions        []string
	functions, files     []int // lines of each
	longFiles            []string
	packages             int
}

// source is one parsed file.
type source struct {
	name  string // relative to the root of the tree
	lines int
	fset  *token.FileSet
	file  *ast.File
}

// TestMeasures prints the measures of the tree (with -v) and fails when one is beyond its limit.
func TestMeasures(t *testing.T) {
	m := measure(t)
	t.Logf("\n%s", m.table())
	for _, f := range m.longFunctions {
		t.Errorf("function of more than %d lines: %s", maxFunction, f)
	}
	for _, f := range m.longFiles {
		t.Errorf("file of more than %d lines: %s", maxFile, f)
	}
	for _, name := range m.undocumented {
		t.Errorf("exported without a comment: %s", name)
	}
	if len(m.chain) > maxDepth {
		t.Errorf("import depth %d, want at most %d:\n%s", len(m.chain), maxDepth, strings.Join(m.chain, "\n"))
	}
	for _, name := range slices.Sorted(maps.Keys(m.fanOut)) {
		if n := m.fanOut[name]; n > maxFanOut {
			t.Errorf("%s imports %d packages of ours, want at most %d", name, n, maxFanOut)
		}
	}
	if got := m.share(m.pure); got < minPureShare {
		t.Errorf("%.1f %% of the lines are in pure packages, want at least %.0f %%", 100*got, 100*minPureShare)
	}
	if got := m.share(m.test); got < minTestRatio {
		t.Errorf("%.2f lines of tests per line of code, want at least %.2f", got, minTestRatio)
	}
}

func (m *measures) share(lines int) float64 { return float64(lines) / float64(m.code) }

// table prints the measures for a reader.
func (m *measures) table() string {
	widest := slices.MaxFunc(slices.Collect(maps.Keys(m.fanOut)), func(a, b string) int {
		return cmp.Or(cmp.Compare(m.fanOut[a], m.fanOut[b]), strings.Compare(b, a))
	})
	slices.Sort(m.functions)
	slices.Sort(m.files)
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) // to memory
	}
	row("production lines", "%d in %d packages", m.code, m.packages)
	row("pure lines", "%d, %.1f %%", m.pure, 100*m.share(m.pure))
	row("test lines", "%d, %.2f per production line", m.test, m.share(m.test))
	row("import depth", "%d packages: %s", len(m.chain), strings.Join(m.chain, " > "))
	row("fan-out", "%d: %s", m.fanOut[widest], widest)
	row("function lines", "median %d, 90 %% up to %d, longest %d, over %d: %d", quantile(m.functions, 0.5), quantile(m.functions, 0.9),
		quantile(m.functions, 1), maxFunction, len(m.longFunctions))
	row("file lines", "median %d, 90 %% up to %d, longest %d, over %d: %d", quantile(m.files, 0.5), quantile(m.files, 0.9),
		quantile(m.files, 1), maxFile, len(m.longFiles))
	row("documented exports", "%d of %d, %.1f %%", m.documented, m.exported, 100*float64(m.documented)/float64(m.exported))
	_ = w.Flush() // to memory
	return out.String()
}

// quantile gives the value below which the share q of the sorted values lies.
func quantile(sorted []int, q float64) int {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func measure(t *testing.T) *measures {
	t.Helper()
	m := &measures{fanOut: map[string]int{}}
	imports := map[string][]string{}
	for _, p := range list(t) {
		code := !testSupport(p.rel())
		for _, name := range goFiles(t, p.Dir) {
			s := parse(t, filepath.Join(p.Dir, name))
			if ast.IsGenerated(s.file) {
				continue
			}
			m.countFile(s)
			if !code || strings.HasSuffix(name, "_test.go") {
				m.test += s.lines
				continue
			}
			m.code += s.lines
			if _, isPure := pure()[p.rel()]; isPure {
				m.pure += s.lines
			}
			m.countExports(s)
		}
		if !code {
			continue
		}
		m.packages++
		for _, imp := range p.Imports {
			if rel, mine := ours(imp); mine {
				imports[p.rel()] = append(imports[p.rel()], rel)
			}
		}
		m.fanOut[p.rel()] = len(imports[p.rel()])
	}
	m.chain = longestChain(imports)
	return m
}

// goFiles lists all Go files of a directory, whatever their build constraints.
func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") {
			names = append(names, e.Name())
		}
	}
	return names
}

func parse(t *testing.T, path string) source {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("parse %s: %v", path, err)
	}
	name, err := filepath.Rel(root(t), path)
	if err != nil {
		t.Fatal(err)
	}
	return source{name: name, lines: fset.File(file.Pos()).LineCount() - 1, fset: fset, file: file}
}

// countFile counts the lengths of a file and of its functions. Tables in tests may be long; what runs may not.
func (m *measures) countFile(s source) {
	m.files = append(m.files, s.lines)
	if s.lines > maxFile {
		m.longFiles = append(m.longFiles, fmt.Sprintf("%s (%d)", s.name, s.lines))
	}
	test := strings.HasSuffix(s.name, "_test.go")
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
		if test {
			continue
		}
		m.functions = append(m.functions, n)
		if n > maxFunction {
			m.longFunctions = append(m.longFunctions, fmt.Sprintf("%s: %s (%d)", s.name, f.Name.Name, n))
		}
	}
}

// countExports counts the exported declarations of a file and those that have a comment.
func (m *measures) countExports(s source) {
	note := func(id *ast.Ident, docs ...*ast.CommentGroup) {
		if !id.IsExported() {
			return
		}
		m.exported++
		if slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d.Text() != "" }) {
			m.documented++
		} else {
			m.undocumented = append(m.undocumented, s.name+": "+id.Name)
		}
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if exportedReceiver(d) {
				note(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					note(spec.Name, d.Doc, spec.Doc, spec.Comment)
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						note(id, d.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
}

// exportedReceiver is false for a method of an unexported type.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// longestChain gives the packages of the longest chain of imports, the importing package first.
func longestChain(imports map[string][]string) []string {
	known := map[string][]string{}
	var below func(name string) []string
	below = func(name string) []string {
		if chain, ok := known[name]; ok {
			return chain
		}
		var longest []string
		for _, imp := range imports[name] {
			if chain := below(imp); len(chain) > len(longest) {
				longest = chain
			}
		}
		known[name] = append([]string{name}, longest...)
		return known[name]
	}
	var longest []string
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if chain := below(name); len(chain) > len(longest) {
			longest = chain
		}
	}
	return longest
}
