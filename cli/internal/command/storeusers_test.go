package command_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStoreUsersWritesAPasswordAndItsHash(t *testing.T) {
	dir := t.TempDir()
	passwordFile, aclFile := filepath.Join(dir, "password"), filepath.Join(dir, "users.acl")
	code, out, stderr := run(t, nil, "store-users", passwordFile, aclFile)
	if code != 0 {
		t.Fatalf("store-users = %d: %s", code, stderr)
	}
	password := readFile(t, passwordFile)
	acl := readFile(t, aclFile)
	sum := sha256.Sum256([]byte(password))
	if !strings.Contains(acl, "user culvert on #"+hex.EncodeToString(sum[:])+" ") {
		t.Errorf("access list %q has no hash of the password", acl)
	}
	if len(password) < 40 || strings.Contains(acl+out+stderr, password) {
		t.Errorf("password of %d characters, shown: %v", len(password), strings.Contains(acl+out+stderr, password))
	}
	if info, err := os.Stat(passwordFile); err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("mode of the password file: %v, %v", info, err)
	}
	// A second run keeps the password, so that a store that runs goes on accepting it.
	if code, _, stderr := run(t, nil, "store-users", passwordFile, aclFile); code != 0 {
		t.Fatalf("second store-users = %d: %s", code, stderr)
	}
	if again := readFile(t, passwordFile); again != password {
		t.Error("the second run made another password")
	}
}

func TestStoreUsersRefusesAnEmptyPassword(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "password")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, nil, "store-users", empty, filepath.Join(dir, "users.acl")); code != 1 || !strings.Contains(stderr,
		"is empty") {
		t.Errorf("store-users with an empty password = %d: %s", code, stderr)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
