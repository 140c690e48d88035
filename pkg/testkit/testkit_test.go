package testkit_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// failure is a testing.TB that records its fatal message instead of ending the test.
type failure struct {
	testing.TB
	message string
}

func (*failure) Helper() {}

func (f *failure) Fatalf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

func TestEventuallyWaitsForTheCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, calls := time.Now(), 0
		testkit.Eventually(t, "ten seconds have passed", func() bool {
			calls++
			return time.Since(begin) >= 10*time.Second
		})
		if d := time.Since(begin); d > 11*time.Second || calls < 100 {
			t.Errorf("waited %v with %d checks", d, calls)
		}
	})
}

func TestWaitsFailAfterTheirLimit(t *testing.T) {
	waits := map[string]struct {
		limit time.Duration
		want  string
		wait  func(t testing.TB)
	}{
		"Eventually": {testkit.Patience, "not true within 1m0s: a thing", func(t testing.TB) {
			testkit.Eventually(t, "a thing", func() bool { return false })
		}},
		"Retry": {time.Second, "a thing: no success within 1s, last error: still wrong", func(t testing.TB) {
			testkit.Retry(t, "a thing", time.Second, func() error { return errors.New("still wrong") })
		}},
		"Receive": {testkit.Patience, "nothing received within 1m0s: a thing", func(t testing.TB) {
			testkit.Receive(t, "a thing", make(chan int))
		}},
	}
	for name, tt := range waits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, f := time.Now(), &failure{TB: t}
				tt.wait(f)
				if f.message != tt.want || time.Since(begin) != tt.limit {
					t.Errorf("after %v: %q, want after %v: %q", time.Since(begin), f.message, tt.limit, tt.want)
				}
			})
		})
	}
}

func TestReceive(t *testing.T) {
	ch := make(chan int, 1)
	ch <- 7
	if v := testkit.Receive(t, "a number", ch); v != 7 {
		t.Errorf("received %d, want 7", v)
	}
	close(ch)
	if v := testkit.Receive(t, "the end", ch); v != 0 {
		t.Errorf("received %d from a closed channel, want 0", v)
	}
}

func TestCertificates(t *testing.T) {
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	certFile, keyFile := ca.IssueFiles(t, "origin.example", "127.0.0.1")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.PEM()) || ca.File(t) == "" {
		t.Fatal("the CA's PEM block holds no certificate")
	}
	for _, c := range []struct {
		name  string
		roots *x509.CertPool
		valid bool
	}{
		{"origin.example", ca.Pool(), true},
		{"127.0.0.1", pool, true},
		{"other.example", ca.Pool(), false},
		{"origin.example", other.Pool(), false},
	} {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: c.name, Roots: c.roots})
		if (err == nil) != c.valid {
			t.Errorf("Verify(%s) = %v, want valid: %v", c.name, err, c.valid)
		}
	}
	expired := ca.IssueFrom(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "origin.example")
	if _, err := expired.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err == nil {
		t.Error("an expired certificate is valid")
	}
}

func TestFreePortsCanBeUsed(t *testing.T) {
	addr := testkit.FreeTCPAndUDP(t)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if free := testkit.FreeTCP(t); !free.Addr().IsLoopback() || free.Port() == 0 {
		t.Errorf("FreeTCP = %s", free)
	}
}

func TestStreamEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end       func(far *testkit.Stream)
		read      error
		write     error
		writeOver bool // whether the near end's context has ended
	}{
		"close write":  {func(far *testkit.Stream) { _ = far.CloseWrite() }, io.EOF, nil, false},
		"cancel write": {func(far *testkit.Stream) { far.CancelWrite(0) }, testkit.ErrReset, nil, false},
		"abort":        {(*testkit.Stream).Abort, testkit.ErrReset, testkit.ErrStopped, true},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := testkit.NewStreamPair()
			tt.end(far)
			if _, err := near.Read(make([]byte, 1)); err != tt.read { //nolint:errorlint // the bare value is the contract
				t.Errorf("Read = %v, want %v", err, tt.read)
			}
			var reader sync.WaitGroup
			if tt.write == nil {
				reader.Go(func() { _, _ = io.ReadFull(far, make([]byte, 1)) })
			}
			if _, err := near.Write([]byte("x")); !errors.Is(err, tt.write) {
				t.Errorf("Write = %v, want %v", err, tt.write)
			}
			reader.Wait()
			if over := near.Context().Err() != nil; over != tt.writeOver {
				t.Errorf("context has ended: %v, want %v", over, tt.writeOver)
			}
		})
	}
}

func TestRecorder(t *testing.T) {
	r := testkit.NewRecorder(context.Background(), strings.NewReader("request"))
	if b, err := io.ReadAll(r); string(b) != "request" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if err := r.Buffer([]byte("resp")); err != nil {
		t.Fatal(err)
	}
	testkit.Receive(t, "the first byte", r.Wrote())
	if _, err := r.Write([]byte("onse")); err != nil {
		t.Fatal(err)
	}
	if err := r.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want := testkit.RecorderState{WriteClosed: true}
	if string(r.Written()) != "response" || r.State() != want {
		t.Errorf("recorded %q, %+v, want %+v", r.Written(), r.State(), want)
	}
	r.Abort()
	want.ReadCanceled, want.WriteCanceled = true, true
	if r.State() != want {
		t.Errorf("after Abort: %+v, want %+v", r.State(), want)
	}
}

func TestLongCount(t *testing.T) {
	for value, want := range map[string]int{"": 3, "0": 3, "1": 100} {
		t.Setenv("CULVERT_TEST_LONG", value)
		if got := testkit.LongCount(3, 100); got != want {
			t.Errorf("with CULVERT_TEST_LONG=%q LongCount(3, 100) = %d, want %d", value, got, want)
		}
	}
}
