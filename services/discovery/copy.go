package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// copyWait is how long the first lookup may take when there is a copy of the pool.
const copyWait = 3 * time.Second

// poolCopy is the copy of the pool on disk, for a start without DNS. One lookup at a time.
type poolCopy struct {
	path           string // empty for none
	name, identity string
	log            *slog.Logger
	// pool is the copy of a former run, until the first lookup is over.
	pool edgepool.Pool
	// saved is what is on disk; told says that it could not be written.
	saved edgepool.Pool
	told  bool
}

// openCopy reads the copy of a former run. One that cannot be used is told and ignored.
func openCopy(cfg Config, logger *slog.Logger) *poolCopy {
	c := &poolCopy{name: cfg.Name, identity: cfg.identity(), log: logger}
	if cfg.StateDir == "" || cfg.literal() {
		return c
	}
	id := sha256.Sum256([]byte(c.name + "\x00" + c.identity))
	c.path = filepath.Join(cfg.StateDir, "edge-pool-"+hex.EncodeToString(id[:6])+".json")
	file, err := readLimited(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c
	case err == nil:
		c.pool, err = edgepool.DecodeCopy(file, c.name, c.identity)
	}
	if err != nil {
		c.log.Warn("copy of the edge pool ignored", slog.String(logkey.File, c.path), slog.Any(logkey.Err, err))
		c.pool = edgepool.Pool{}
		return c
	}
	c.saved = c.pool
	return c
}

// readLimited reads a little more than a copy may have, whatever the file is.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	file, err := io.ReadAll(io.LimitReader(f, edgepool.MaxCopyBytes+1))
	return file, errors.Join(err, f.Close())
}

// save writes the pool, unless the same one is on disk already. That it cannot is told once.
func (c *poolCopy) save(ctx context.Context, p edgepool.Pool) {
	if c.path == "" || edgepool.Same(c.saved, p) {
		return
	}
	file, err := edgepool.EncodeCopy(edgepool.Copy{Name: c.name, Identity: c.identity, Pool: p})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.path), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(c.path, file, 0o600, renameio.WithTempDir(filepath.Dir(c.path)), renameio.WithStaticPermissions(0o600))
	}
	if err == nil {
		c.saved, c.told = p, false
		return
	}
	if !c.told {
		c.told = true
		c.log.WarnContext(ctx, "edge pool not saved, a start without DNS will not have it", slog.String(logkey.File, c.path),
			slog.Any(logkey.Err, err))
	}
}

// lookupOrCopy looks the edge up. The first lookup falls back to the copy of a former run, and does not take long where there is one.
func (s *Service) lookupOrCopy(ctx context.Context) retain.LookupReply {
	former := s.copy.pool
	if former.UsableRegions() > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, copyWait)
		defer cancel()
	}
	s.copy.pool = edgepool.Pool{}
	pool, err := s.lookup(ctx)
	if err == nil {
		s.copy.save(ctx, pool)
		return retain.LookupReply{Pool: pool}
	}
	if former.UsableRegions() == 0 || errors.Is(ctx.Err(), context.Canceled) {
		return retain.LookupReply{Err: err}
	}
	s.log.InfoContext(ctx, "edge pool of a former run is at hand", slog.String(logkey.File, s.copy.path),
		slog.Int(logkey.Addresses, former.Count(edgepool.Any)), slog.Time(logkey.Saved, former.FetchedAt))
	return retain.LookupReply{Pool: former, Stale: err}
}

// identity says what is looked up: a copy of anything else is of no use.
func (c Config) identity() string {
	if len(c.Static) > 0 {
		return "static " + strings.Join(c.Static, " ")
	}
	return fmt.Sprintf("srv %s", c.SRV.Record())
}

// literal reports whether the configuration lists nothing but addresses, which need no lookup.
func (c Config) literal() bool {
	for _, entry := range c.Static {
		host, _, err := net.SplitHostPort(entry)
		if err != nil {
			return false
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return false
		}
	}
	return len(c.Static) > 0
}
