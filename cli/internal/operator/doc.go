// Package operator has the commands of an operator against the admin API of an edge: tunnels, routes, connections, pushed
// configurations, and ping through a tunnel.
//
// A command is a few calls of the API and a table of what they returned. Nothing is kept between commands.
package operator
