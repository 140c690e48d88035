// Package command holds the commands of the culvert binary, one file each. A command reads its flags, composes what it
// needs from the other packages, and returns one error; the caller prints it and exits.
//
// The binary is the only importer. Commands write to the writers of their Host and read the environment through it.
package command
