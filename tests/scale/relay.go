package main

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // the store names scripts by it
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// relay passes connections on to the store, each way late by half of the round trip, and counts the commands.
type relay struct {
	addr    string
	to      string
	delay   time.Duration
	scripts map[string]string // by their hash
	running sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int
	fault  error
}

func newRelay(ctx context.Context, to string, roundTrip time.Duration) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &relay{addr: ln.Addr().String(), to: to, delay: roundTrip / 2, scripts: map[string]string{}, counts: map[string]int{}}
	for _, name := range command.Scripts() {
		sum := sha1.Sum([]byte(command.Source(name))) //nolint:gosec // see above
		r.scripts[hex.EncodeToString(sum[:])] = name
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	r.running.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(ctx, near) })
		}
	})
	return r, nil
}

// counted are the commands so far, by name.
func (r *relay) counted() (counts map[string]int, fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts), r.fault
}

func (r *relay) serve(ctx context.Context, near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := net.Dial("tcp", r.to) //nolint:noctx // on this machine
	if err != nil {
		return // the client sees the end of its connection
	}
	defer func() { _ = far.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })()
	var both sync.WaitGroup
	pass := func(to net.Conn, read func() ([]byte, error)) {
		defer func() { _ = near.Close() }()
		defer func() { _ = far.Close() }()
		r.line(ctx, to, read)
	}
	both.Go(func() {
		in := bufio.NewReader(near)
		pass(far, func() ([]byte, error) {
			q, err := readRequest(in)
			if err == nil {
				r.count(q)
			} else if errors.Is(err, errProtocol) {
				r.fail(err)
			}
			return q.raw, err
		})
	})
	both.Go(func() {
		pass(near, func() ([]byte, error) {
			b := make([]byte, 64<<10)
			n, err := far.Read(b)
			return b[:n], err
		})
	})
	both.Wait()
}

// line writes what it reads, each piece after the delay.
func (r *relay) line(ctx context.Context, to io.Writer, read func() ([]byte, error)) {
	type piece struct {
		due  time.Time
		data []byte
	}
	way := make(chan piece, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		broken := false
		for p := range way {
			if !broken {
				_ = pause(context.WithoutCancel(ctx), time.Until(p.due)) // it does not end before
				_, err := to.Write(p.data)
				broken = err != nil
			}
		}
	})
	for {
		data, err := read()
		if len(data) > 0 {
			way <- piece{time.Now().Add(r.delay), data}
		}
		if err != nil {
			break
		}
	}
	close(way)
	writer.Wait()
}

func (r *relay) count(q request) {
	name := q.name
	if q.sha != "" {
		name = r.scripts[q.sha]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[name]++
}

func (r *relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = err
}
