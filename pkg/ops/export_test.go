package ops

import "net/http"

// HandlerOf is the handler of s, with all guards.
func HandlerOf(s *Server) http.Handler { return s.server().Handler }
