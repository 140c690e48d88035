// Package stack composes the parts of the system in one process: one store, one registry, one private listener, and a
// table of parts in the order in which they start. They meet through the store and the link, as separate processes do;
// here the store may be inside the process and the link is a direct call.
//
// It has no behaviour of its own. New opens everything that may fail; Run owns all goroutines and stops the parts in
// reverse order: the worker drains while the proxy still serves, and the edge goes last.
package stack
