// Package service has the services as commands of the one program: the same as the service binaries, with the same flags.
package service
