// Package service has the services as commands of the one program: the same as the service binaries, with the same flags. A demo
// origin is one more.
package service
