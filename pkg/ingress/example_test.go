package ingress_test

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// A configuration becomes a set of rules; the first rule that matches host and path decides about a request.
func Example() {
	doc, err := ingress.ParseJSON([]byte(`{"ingress": [
		{"hostname": "shop.example.com", "path": "^/api", "service": "http://localhost:8080"},
		{"hostname": "*.example.com", "service": "ssh://localhost:22"},
		{"service": "http_status:404"}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := ingress.Compile(doc)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, request := range []struct{ host, path string }{
		{"shop.example.com", "/api/carts"}, {"shop.example.com", "/"}, {"example.org", "/"},
	} {
		rule, index := set.Match(request.host, request.path)
		fmt.Printf("%s%s: rule %d, %v\n", request.host, request.path, index, rule.Service)
	}
	// Output:
	// shop.example.com/api/carts: rule 0, http://localhost:8080
	// shop.example.com/: rule 1, ssh://localhost:22
	// example.org/: rule 2, http_status:404
}
