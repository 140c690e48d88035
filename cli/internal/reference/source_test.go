package reference_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/stockmetrics"
)

var (
	// metricName leaves out the names of features, such as culvert_streams_1.
	metricName = regexp.MustCompile(`\bculvert_(?:build|control|discovery|edge|link|proxy|store|supervisor|worker)_[a-z0-9_]+`)
	codeName   = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
)

// tree is the production code of the project.
type tree struct {
	files []*ast.File
	// constants are the string constants by name. Names that occur twice with different values are left out.
	constants map[string]string
}

// metric is one metric that some package registers.
type metric struct {
	name, kind, help string
	labels           []string
}

// problem is one error that the edge itself responds with.
type problem struct {
	code, title, text string
	status            int
}

func parseTree(t *testing.T) *tree {
	t.Helper()
	tr := &tree{constants: map[string]string{}}
	fset := token.NewFileSet()
	for _, dir := range []string{"pkg", "services", "cli"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path,
				".capnp.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err == nil {
				tr.files = append(tr.files, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range tr.files {
		ast.Inspect(file, tr.addConstants)
	}
	return tr
}

func (tr *tree) addConstants(n ast.Node) bool {
	spec, ok := n.(*ast.ValueSpec)
	if !ok {
		return true
	}
	for i, name := range spec.Names {
		if i >= len(spec.Values) {
			continue
		}
		lit, ok := spec.Values[i].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(lit.Value)
		if old, twice := tr.constants[name.Name]; twice && old != text {
			text = ""
		}
		if err == nil {
			tr.constants[name.Name] = text
		}
	}
	return true
}

// text is the value of a string expression: a literal, a constant or a sum of them.
func (tr *tree) text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return s
	case *ast.Ident:
		return tr.constants[e.Name]
	case *ast.SelectorExpr:
		return tr.constants[e.Sel.Name]
	case *ast.BinaryExpr:
		return tr.text(e.X) + tr.text(e.Y)
	}
	return ""
}

// typeName is the last part of the name of a type: "GaugeOpts" of prometheus.GaugeOpts.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// metrics finds every metric by the options that it is made with.
func (tr *tree) metrics(t *testing.T) []metric {
	t.Helper()
	found := map[string]metric{}
	for _, file := range tr.files {
		helpers := tr.helpers(file)
		inspect(file, func(n ast.Node, parents []ast.Node) {
			m, ok := tr.options(n, helpers)
			if !ok {
				return
			}
			kind, labels := tr.constructor(parents)
			m.kind, m.labels = cmp.Or(m.kind, kind), labels
			if m.kind == "" || !strings.HasPrefix(m.name, "culvert_") {
				t.Errorf("metric %q with help %q: kind %q; this test cannot read how it is made", m.name, m.help, m.kind)
			}
			if old, twice := found[m.name]; twice && old.kind != m.kind {
				t.Errorf("metric %s is a %s and a %s", m.name, old.kind, m.kind)
			}
			found[m.name] = m
		})
	}
	if len(found) < 50 {
		t.Errorf("found %d metrics: the source is not what this test reads", len(found))
	}
	var all []metric
	for _, m := range found {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	return all
}

// helper is a function that makes a metric or its options from its first two arguments: the end of the name, and the help.
type helper struct{ prefix, kind string }

// helpers finds the functions of a file that make metrics whose name they are given.
func (tr *tree) helpers(file *ast.File) map[string]helper {
	out := map[string]helper{}
	inspect(file, func(n ast.Node, _ []ast.Node) {
		var name string
		var body *ast.BlockStmt
		switch n := n.(type) {
		case *ast.FuncDecl:
			name, body = n.Name.Name, n.Body
		case *ast.AssignStmt:
			if lit, ok := n.Rhs[0].(*ast.FuncLit); ok && len(n.Lhs) == 1 {
				name, body = typeName(n.Lhs[0]), lit.Body
			}
		}
		if body == nil || len(body.List) != 1 {
			return
		}
		inspect(body, func(n ast.Node, parents []ast.Node) {
			if fields, ok := tr.fields(n); ok && !tr.isConstant(fields["Name"]) {
				kind, _ := tr.constructor(parents)
				out[name] = helper{prefix: tr.prefix(fields) + tr.text(fields["Name"]), kind: kind}
			}
		})
	})
	return out
}

// isConstant reports whether every part of a string expression has a value in the source.
func (tr *tree) isConstant(e ast.Expr) bool {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return tr.isConstant(sum.X) && tr.isConstant(sum.Y)
	}
	return tr.text(e) != ""
}

// fields are the keyed elements of a literal of metric options.
func (tr *tree) fields(e ast.Node) (map[string]ast.Expr, bool) {
	lit, ok := e.(*ast.CompositeLit)
	if !ok || !strings.HasSuffix(typeName(lit.Type), "Opts") {
		return nil, false
	}
	fields := map[string]ast.Expr{}
	for _, el := range lit.Elts {
		if kv, ok := el.(*ast.KeyValueExpr); ok {
			fields[typeName(kv.Key)] = kv.Value
		}
	}
	return fields, fields["Name"] != nil && fields["Help"] != nil
}

func (tr *tree) prefix(fields map[string]ast.Expr) string {
	var prefix string
	for _, part := range []string{"Namespace", "Subsystem"} {
		if text := tr.text(fields[part]); text != "" {
			prefix += text + "_"
		}
	}
	return prefix
}

// options reads the options of one metric: a literal, or a call of a helper.
func (tr *tree) options(n ast.Node, helpers map[string]helper) (metric, bool) {
	if call, ok := n.(*ast.CallExpr); ok {
		h, ok := helpers[typeName(call.Fun)]
		if !ok || len(call.Args) < 2 {
			return metric{}, false
		}
		return metric{name: h.prefix + tr.text(call.Args[0]), help: tr.text(call.Args[1]), kind: h.kind}, true
	}
	fields, ok := tr.fields(n)
	if !ok || !tr.isConstant(fields["Name"]) {
		return metric{}, false
	}
	return metric{name: tr.prefix(fields) + tr.text(fields["Name"]), help: tr.text(fields["Help"])}, true
}

// constructor finds the call that makes a metric from its options, and gives the kind and the labels.
func (tr *tree) constructor(parents []ast.Node) (kind string, labels []string) {
	for _, n := range slices.Backward(parents) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			continue
		}
		name, exported := strings.CutPrefix(typeName(call.Fun), "New")
		if !exported {
			name = strings.TrimPrefix(name, "new")
		}
		for _, k := range []string{"Counter", "Gauge", "Histogram", "Summary"} {
			if strings.HasPrefix(name, k) && name != typeName(call.Fun) {
				kind = strings.ToLower(k)
			}
		}
		if kind == "" && !exported {
			continue
		}
		for _, arg := range call.Args {
			lit, ok := arg.(*ast.CompositeLit)
			if !ok {
				continue
			}
			if _, isList := lit.Type.(*ast.ArrayType); isList {
				for _, el := range lit.Elts {
					labels = append(labels, tr.text(el))
				}
			}
		}
		return kind, labels
	}
	return "", nil
}

// problems finds the errors of the edge: literals of the type problem with a status, a code, a title and a text.
func (tr *tree) problems(t *testing.T) []problem {
	t.Helper()
	found := map[string]problem{}
	for _, file := range tr.files {
		inspect(file, func(n ast.Node, _ []ast.Node) {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || !strings.EqualFold(typeName(lit.Type), "problem") || len(lit.Elts) < 4 {
				return
			}
			var p problem
			for _, el := range lit.Elts {
				if kv, ok := el.(*ast.KeyValueExpr); ok {
					el = kv.Value
				}
				p.add(tr, el)
			}
			if p.code != "" {
				found[p.code] = p
			}
		})
	}
	if len(found) < 10 {
		t.Errorf("found %d error codes of the edge: the source is not what this test reads", len(found))
	}
	var all []problem
	for _, p := range found {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b problem) int { return cmp.Compare(a.code, b.code) })
	return all
}

func (p *problem) add(tr *tree, el ast.Expr) {
	if sel, ok := el.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "Status") {
		p.status = statuses()[sel.Sel.Name]
		return
	}
	switch text := tr.text(el); {
	case p.code == "" && codeName.MatchString(text):
		p.code = text
	case p.title == "":
		p.title = text
	case p.text == "":
		p.text = text
	}
}

// statuses are the names of the status codes in net/http.
func statuses() map[string]int {
	special := map[int]string{418: "Teapot", 505: "HTTPVersionNotSupported"}
	out := map[string]int{}
	for code := 100; code < 600; code++ {
		name, ok := special[code]
		if !ok {
			name = strings.NewReplacer(" ", "", "-", "", "'", "").Replace(http.StatusText(code))
		}
		if name != "" {
			out["Status"+name] = code
		}
	}
	return out
}

// inspect walks the tree below root and gives each node together with those that contain it.
func inspect(root ast.Node, visit func(n ast.Node, parents []ast.Node)) {
	var stack []ast.Node
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		visit(n, stack)
		stack = append(stack, n)
		return true
	})
}

func metricsPage(all []metric) string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nWhat `/metrics` of each process has, besides the Go runtime's own. A process has the metrics of its part:\n" +
		"`culvert_edge_` is the edge, `culvert_worker_` a conn-worker, `culvert_proxy_` a proxy, and so on; `culvert tunnel run` and `culvert " +
		"up` have\n" +
		"those of all their parts.\n\n| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n")
	for _, m := range all {
		labels := ""
		if len(m.labels) > 0 {
			labels = "`" + strings.Join(m.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labels, cell(m.help))
	}
	return b.String()
}

// stockPage is the part about the names of the reference.
func stockPage() string {
	var b strings.Builder
	b.WriteString("\n## Metrics of cloudflared\n\n`culvert tunnel run` and `culvert up` show these as well, made of the above when somebody " +
		"asks. The names, types, labels and\nbuckets are cloudflared's (docs/spec/lifecycle.md 10.3).\n\n" +
		"| Metric | Kind | Labels | Made of | Remarks |\n|---|---|---|---|---|\n")
	for _, s := range stockmetrics.Table() {
		var from []string
		for _, p := range s.From {
			if name := "`" + p.Family + "`"; !slices.Contains(from, name) {
				from = append(from, name)
			}
		}
		labels := ""
		if len(s.Labels) > 0 {
			labels = "`" + strings.Join(s.Labels, "`, `") + "`"
		}
		kind := strings.ToLower(s.Kind.String())
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, kind, labels, strings.Join(from, ", "), cell(s.Note))
	}
	return b.String()
}

func problemsPage(all []problem) string {
	var b strings.Builder
	b.WriteString("# Errors of the edge\n\nA response that the edge makes itself has the header `Culvert-Error` with one of these codes, " +
		"and `Cf-Ray` with the id of the\n" +
		"request, which is `request_id` in the edge's log. A response without the header is the origin's.\n\n" +
		"| Code | Status | Title | Text |\n|---|---|---|---|\n")
	for _, p := range all {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", p.code, p.status, cell(p.title), cell(p.text))
	}
	return b.String()
}
