// Package config fills a settings struct from four sources, each overriding the one before: the struct's own values
// (the defaults), a YAML file, environment variables, and flags. It knows no service.
//
// The struct says everything with tags: `yaml:"listen"` is the key, `usage:"..."` the help text. Nested structs are
// sections, `yaml:",inline"` joins a struct's keys into its parent. The path redis.password_file is the key in the
// file, the flag --redis.password_file and the variable CULVERT_REDIS_PASSWORD_FILE.
//
// Loading is strict and reports all problems at once, each with its place. Secrets (type Secret and
// tunnel.Secret) have no flag, because argv is visible to everybody on the host, and print as "***".
//
// It starts no goroutine and keeps no state.
package config
