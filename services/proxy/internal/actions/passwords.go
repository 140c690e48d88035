package actions

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

const (
	// maxKnown is the number of credentials that are remembered as good.
	maxKnown = 1024
	// maxChecks is the number of passwords that a rule checks at a time. One takes some 50 ms of a processor, on purpose.
	maxChecks = 2
)

// Passwords checks the credentials of HTTP basic authentication against bcrypt hashes. Good ones are remembered, by a keyed hash, so that
// only the first request of a visitor costs a check.
type Passwords struct {
	users map[string]string
	other string // the hash that the password of an unknown user is checked against, so that the time tells nothing
	key   [sha256.Size]byte
	slots chan struct{}

	mu    sync.Mutex
	known map[[sha256.Size]byte]struct{}
}

// NewPasswords makes the checker for users, or nil without any.
func NewPasswords(users map[string]string) *Passwords {
	if len(users) == 0 {
		return nil
	}
	p := &Passwords{users: users, slots: make(chan struct{}, maxChecks), known: map[[sha256.Size]byte]struct{}{}}
	_, _ = rand.Read(p.key[:]) // never fails
	for _, hash := range users {
		p.other = max(p.other, hash)
	}
	return p
}

// Check reports whether a request has the credentials of a user. It waits its turn at most until ctx ends.
func (p *Passwords) Check(ctx context.Context, header http.Header) bool {
	user, password, ok := (&http.Request{Header: header}).BasicAuth()
	if !ok {
		return false
	}
	mac := hmac.New(sha256.New, p.key[:])
	_, _ = mac.Write([]byte(user + "\x00" + password)) // never fails
	sum := [sha256.Size]byte(mac.Sum(nil))
	p.mu.Lock()
	_, good := p.known[sum]
	p.mu.Unlock()
	if good {
		return true
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return false
	}
	hash, exists := p.users[user]
	if !exists {
		hash = p.other
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil || !exists {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[sum] = struct{}{}
	return true
}
