package actions

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

const (
	// maxKnown is the number of credentials that are remembered as good.
	maxKnown = 1024
	// maxChecks is the number of passwords that a rule checks at a time. One takes some 50 ms of a processor, on purpose.
	maxChecks = 2
	// maxWaiting is the number of requests of a rule that wait for such a check or have one: with the usual cost the last one waits some
	// 3 s. maxWaitingEach is the share of one visitor, enough for a page that is loaded just after the proxy has started.
	maxWaiting     = 128
	maxWaitingEach = 32
)

// Credentials is what Passwords says about a request.
type Credentials uint8

// What Check finds. Busy means that too many requests wait for their check.
const (
	Bad Credentials = iota
	Good
	Busy
)

// Passwords checks the credentials of HTTP basic authentication against bcrypt hashes. Good ones are remembered, by a keyed hash, so that
// only the first request of a visitor costs a check.
type Passwords struct {
	users map[string]string
	other string // the hash that the password of an unknown user is checked against, so that the time tells nothing
	key   [sha256.Size]byte
	slots chan struct{}

	mu      sync.Mutex // guards the rest
	known   map[[sha256.Size]byte]struct{}
	waiting int
	each    map[netip.Addr]int // the part of waiting that each visitor with a known address has; no entry for 0
}

// NewPasswords makes the checker for users, or nil without any.
func NewPasswords(users map[string]string) *Passwords {
	if len(users) == 0 {
		return nil
	}
	p := &Passwords{
		users: users, slots: make(chan struct{}, maxChecks), known: map[[sha256.Size]byte]struct{}{}, each: map[netip.Addr]int{},
	}
	_, _ = rand.Read(p.key[:]) // never fails
	for _, hash := range users {
		p.other = max(p.other, hash)
	}
	return p
}

// Check reports whether a request of a visitor, whose address is not valid if it is unknown, has the credentials of a user. It waits its
// turn at most until ctx ends.
func (p *Passwords) Check(ctx context.Context, header http.Header, visitor netip.Addr) Credentials {
	user, password, ok := (&http.Request{Header: header}).BasicAuth()
	if !ok {
		return Bad
	}
	mac := hmac.New(sha256.New, p.key[:])
	_, _ = mac.Write([]byte(user + "\x00" + password)) // never fails
	sum := [sha256.Size]byte(mac.Sum(nil))
	if p.remembers(sum) {
		return Good
	}
	visitor = oneVisitor(visitor)
	if !p.enter(visitor) {
		return Busy
	}
	defer p.leave(visitor)
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return Bad
	}
	if p.remembers(sum) { // another request of the user was checked meanwhile
		return Good
	}
	hash, exists := p.users[user]
	if !exists {
		hash = p.other
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil || !exists {
		return Bad
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[sum] = struct{}{}
	return Good
}

// remembers reports whether credentials were good before.
func (p *Passwords) remembers(sum [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, good := p.known[sum]
	return good
}

// enter counts a request of a visitor as waiting, and reports false if too many wait already. After true the caller has to call leave.
func (p *Passwords) enter(visitor netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting >= maxWaiting || p.each[visitor] >= maxWaitingEach {
		return false
	}
	p.waiting++
	if visitor.IsValid() {
		p.each[visitor]++
	}
	return true
}

func (p *Passwords) leave(visitor netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if !visitor.IsValid() {
		return
	}
	if p.each[visitor]--; p.each[visitor] == 0 {
		delete(p.each, visitor)
	}
}
