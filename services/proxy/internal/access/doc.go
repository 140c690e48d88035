// Package access verifies the tokens that a rule demands of its visitors (originRequest.access, docs/spec/ingress.md 11, D4, D5;
// docs/access.md): JSON Web Tokens that an OpenID Connect issuer signed with RS256 or ES256.
//
// A Guard belongs to one rule and knows issuer and audiences. The signing keys of an issuer are shared by all guards of a Keyring, fetched
// on first need, fetched again in the background, and used as long as no newer ones can be had. What happens to the claims of a token and
// when keys are fetched are pure functions (judge, next). No token and no part of one is ever in an error or a log line.
package access
