package rules

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// MinKey is the shortest secret of a key file, in bytes.
	MinKey  = 32
	keySize = 32
	keyInfo = "culvert rules 1"
)

// ErrSealed says that a stored document cannot be opened.
var ErrSealed = errors.New("the document was not sealed with the key of config_key_file, or was changed since")

// Key seals documents with AES-256-GCM and a random nonce. It is safe for concurrent use.
type Key struct {
	aead cipher.AEAD
	hash []byte
}

// NewKey derives the key from a secret, which is the content of a key file; space around it does not count.
func NewKey(secret []byte) (*Key, error) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < MinKey {
		return nil, fmt.Errorf("the secret has %d bytes, fewer than %d", len(secret), MinKey)
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, keyInfo, 2*keySize)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(derived[:keySize])
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return &Key{aead: aead, hash: derived[keySize:]}, nil
}

// Seal encrypts a document of a tunnel. It opens for that tunnel only.
func (k *Key) Seal(id tunnel.ID, document []byte) string {
	return base64.StdEncoding.EncodeToString(k.aead.Seal(nil, nil, document, id[:]))
}

// Hash names a document: 32 hexadecimal digits, which need the key to be made.
func (k *Key) Hash(document []byte) string {
	h := hmac.New(sha256.New, k.hash)
	h.Write(document)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Open decrypts what Seal made, and fails with ErrSealed otherwise.
func (k *Key) Open(id tunnel.ID, sealed string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, ErrSealed
	}
	document, err := k.aead.Open(nil, nil, b, id[:])
	if err != nil {
		return nil, ErrSealed
	}
	return document, nil
}
