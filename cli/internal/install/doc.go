// Package install makes a connector a service of the host's init system, as `cloudflared service install` does
// (docs/spec/lifecycle.md 10.4, docs/migrate.md): a unit of systemd, or a script of OpenRC or System V.
//
// The plan of an installation (files, links, commands) is pure; the Installer writes and runs it. With another root directory it
// runs nothing, for images that are built.
package install
