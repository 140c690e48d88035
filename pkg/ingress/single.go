package ingress

// SingleFlags holds the single-origin flags that were given; nil means not given (spec/ingress.md 5).
type SingleFlags struct {
	HelloWorld *bool
	Bastion    *bool
	URL        *string
	UnixSocket *string
	Socks5     bool
	Origin     OriginSpec // --proxy-connect-timeout and its kin
}

// SingleOrigin gives the one-rule set that the flags ask for, or ErrNoRules when none of them selects an origin.
func SingleOrigin(flags SingleFlags) (*Set, error) { return Default503(), nil }
