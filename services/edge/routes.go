package edge

import "github.com/labstack/echo/v4"

// Routes mounts the read-only state of the edge under g, as /edge/tunnels, /edge/routes and /edge/connections. It shows
// no secret and changes nothing: that is the admin API's part, which has a guard of its own.
func (s *Service) Routes(g *echo.Group) { s.api.Read(g.Group("/edge")) }
