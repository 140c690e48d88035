package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// errKeyUnknown says that an issuer has no key with the id of a token.
var errKeyUnknown = errors.New("signed with a key that the issuer does not have")

// keySet is the cached keys of one issuer.
type keySet struct {
	ring *Keyring
	src  source

	mu       sync.Mutex // guards the rest
	state    state
	keys     []jose.JSONWebKey
	problem  error         // of the last fetch, if it failed
	fetching chan struct{} // closed when the fetch under way has ended; nil without one
}

// find gives the keys that a signature may be verified with: those with the id, all of them if a token has no id. It waits for a fetch
// if there is none, at most until ctx ends.
func (k *keySet) find(ctx context.Context, id string, alg jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	for waited := false; ; waited = true {
		k.mu.Lock()
		found := pick(k.keys, id, alg)
		todo := next(k.state, len(found) > 0, k.ring.cfg.Refresh, time.Now())
		if waited && todo == stepFetch {
			todo = stepFail // the fetch that was waited for has just failed
		}
		problem := k.problem
		var done <-chan struct{}
		if todo == stepRefresh || todo == stepFetch {
			done = k.startLocked() //nolint:contextcheck // the fetch outlives the request
		}
		k.mu.Unlock()
		switch todo {
		case stepUse, stepRefresh:
			return found, nil
		case stepRefuse:
			return nil, errKeyUnknown
		case stepFail:
			return nil, &RefusedError{http.StatusServiceUnavailable, "keys of the issuer of access tokens cannot be fetched: " + problem.Error()}
		case stepFetch:
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// startLocked starts a fetch unless one is under way. The channel is closed at its end.
func (k *keySet) startLocked() <-chan struct{} {
	if k.fetching != nil {
		return k.fetching
	}
	done := make(chan struct{})
	k.fetching = done
	// Others may wait for the fetch when this request is gone. It ends within fetchTimeout, and when the ring closes.
	k.ring.fetches.Go(func() {
		keys, err := k.ring.fetch(k.src)
		k.mu.Lock()
		k.state.attempted, k.state.failed, k.problem = time.Now(), err != nil, err
		if err == nil {
			k.keys, k.state.fetched = keys, k.state.attempted
		}
		k.fetching = nil
		k.mu.Unlock()
		close(done)
	})
	return done
}

// pick gives the keys of a set that may have made a signature.
func pick(keys []jose.JSONWebKey, id string, alg jose.SignatureAlgorithm) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for i := range keys {
		if k := &keys[i]; (id == "" || k.KeyID == id) && fits(k, alg) {
			out = append(out, *k)
		}
	}
	return out
}

// fits reports whether a key is one for the algorithm: a key for something else, or of another kind, verifies nothing.
func fits(k *jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if !k.Valid() || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(alg) {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && key.Curve == elliptic.P256()
	}
	return false
}
