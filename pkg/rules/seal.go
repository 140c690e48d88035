package rules

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// MinKey is the shortest secret of a key file, in bytes.
	MinKey = 32
	// maxKeys bounds how many keys are tried.
	maxKeys = 16
	keySize = 32
	keyInfo = "culvert rules 2"
	// nameSize is the length of the name of a key, in bytes.
	nameSize = 4
)

// ErrSealed says that a stored document cannot be opened.
var ErrSealed = errors.New("the document was not sealed for this version with a key of config_key_file, or was changed since")

// Key seals documents with AES-256-GCM and a random nonce, and opens them. It may hold several keys: the first one seals, all of them
// open. It is safe for concurrent use.
type Key struct {
	all        atomic.Pointer[[]single]
	generation atomic.Uint64
}

// single is the key of one secret.
type single struct {
	name string // tells it from others, and says nothing about the secret
	aead cipher.AEAD
	hash []byte
}

// NewKey derives the keys from the content of a key file: one secret per line. Empty lines, lines that begin with #, and space around a
// secret do not count.
func NewKey(content []byte) (*Key, error) {
	k := &Key{}
	return k, k.Replace(content)
}

// Replace takes the keys from another content. On an error the former ones stay.
func (k *Key) Replace(content []byte) error {
	var all []single
	for n, line := range bytes.Split(content, []byte("\n")) {
		secret := bytes.TrimSpace(line)
		if len(secret) == 0 || secret[0] == '#' {
			continue
		}
		if len(secret) < MinKey {
			return fmt.Errorf("line %d: the secret has %d bytes, fewer than %d", n+1, len(secret), MinKey)
		}
		one, err := derive(secret)
		if err != nil {
			return fmt.Errorf("line %d: derive a key: %w", n+1, err)
		}
		all = append(all, one)
	}
	switch {
	case len(all) == 0:
		return errors.New("there is no secret")
	case len(all) > maxKeys:
		return fmt.Errorf("%d secrets are more than %d", len(all), maxKeys)
	}
	k.all.Store(&all)
	k.generation.Add(1)
	return nil
}

// Generation grows with each Replace.
func (k *Key) Generation() uint64 { return k.generation.Load() }

func derive(secret []byte) (single, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, keyInfo, 2*keySize+nameSize)
	if err != nil {
		return single{}, err
	}
	block, err := aes.NewCipher(derived[:keySize])
	if err != nil {
		return single{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return single{}, err
	}
	return single{name: hex.EncodeToString(derived[2*keySize:]), aead: aead, hash: derived[keySize : 2*keySize]}, nil
}

// bound is what a sealed document is for: it opens for this tunnel at this position only, so a former version under another number, or
// moved behind another push, does not open.
func bound(id tunnel.ID, at Position) []byte {
	b := append([]byte(keyInfo), id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(at.Push))
	return binary.BigEndian.AppendUint64(b, at.Number)
}

// Seal encrypts a document of a tunnel with the first key, for one position.
func (k *Key) Seal(id tunnel.ID, at Position, document []byte) string {
	one := (*k.all.Load())[0]
	return one.name + "." + base64.StdEncoding.EncodeToString(one.aead.Seal(nil, nil, document, bound(id, at)))
}

// Hash names a document: 32 hexadecimal digits, which need the first key to be made.
func (k *Key) Hash(document []byte) string {
	h := hmac.New(sha256.New, (*k.all.Load())[0].hash)
	h.Write(document)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Open decrypts what Seal made for the same tunnel and position, and fails with ErrSealed otherwise.
func (k *Key) Open(id tunnel.ID, at Position, sealed string) ([]byte, error) {
	name, text, _ := strings.Cut(sealed, ".")
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrSealed
	}
	for _, one := range *k.all.Load() {
		if one.name != name {
			continue
		}
		if document, err := one.aead.Open(nil, nil, b, bound(id, at)); err == nil {
			return document, nil
		}
	}
	return nil, ErrSealed
}

// Current reports whether a document is sealed with the first key.
func (k *Key) Current(sealed string) bool {
	name, _, _ := strings.Cut(sealed, ".")
	return name == (*k.all.Load())[0].name
}
