package setup

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
)

// storeUser is the name that the services use in redis://culvert@HOST.
const storeUser = "culvert"

// StoreUsers makes the password of the store and the access list that goes with it. The access list holds only a hash.
func StoreUsers(c console.Console) *urfave.Command {
	return &urfave.Command{
		Name: "store-users", Usage: "write a password for the store (Redis, Valkey) and the access list that accepts it",
		ArgsUsage: "PASSWORD_FILE ACL_FILE", OnUsageError: console.UsageError,
		Action: func(ctx *urfave.Context) error {
			if ctx.NArg() != 2 {
				return errors.New("store-users needs two arguments: the file for the password (redis.password_file of the services) " +
					"and the file for the access list (aclfile of the store)")
			}
			password, err := storePassword(ctx.Args().Get(0))
			if err != nil {
				return fmt.Errorf("password of the store: %w", err)
			}
			if err := os.WriteFile(ctx.Args().Get(1), []byte(accessList(password)),
				0o644); err != nil { // the file holds a hash, and the store runs as another user
				return fmt.Errorf("access list of the store: %w", err)
			}
			c.Println("use redis://" + storeUser + "@HOST:6379 with the password file, and start the store with --aclfile")
			return nil
		},
	}
}

// storePassword reads the password from file, or makes one and writes it there.
func storePassword(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		old, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(old)) == "" {
			err = fmt.Errorf("%s is empty", file)
		}
		return strings.TrimSpace(string(old)), err
	}
	if err != nil {
		return "", err
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	password := base64.RawURLEncoding.EncodeToString(raw)
	_, err = f.WriteString(password + "\n")
	return password, errors.Join(err, f.Close())
}

// accessList lets the services use their own keys and channels and nothing else. Without a password a client may only
// ping, which is what health checks do.
func accessList(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "user default on nopass resetkeys resetchannels -@all +ping\n" +
		"user " + storeUser + " on #" + hex.EncodeToString(sum[:]) + " resetkeys ~cv:* resetchannels &cv:* -@all" +
		" +@read +@write +@scripting +@pubsub +@connection +time -@dangerous +info +cluster|slots -script|flush -script|kill\n"
}
