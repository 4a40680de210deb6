//go:build linux

package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern/test/bench/report"
)

// bench is a bench without a tunnel: clients connect to the target itself.
func bench(t *testing.T) *Bench {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := NewTarget()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- target.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &Bench{
		Target: target, Warm: 10 * time.Millisecond, Window: 250 * time.Millisecond, Idle: 100,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
		},
	}
}

func TestEveryCaseMeasures(t *testing.T) {
	b := bench(t)
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			values, err := c.Run(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(values)
			for _, m := range report.Metrics() {
				if _, there := values[m.Key]; m.Case == c.Name && !there {
					t.Errorf("the report's metric %s is missing", m.Key)
				}
			}
			for key, v := range values {
				if v < 0 && !strings.HasPrefix(key, "memory") || v != v {
					t.Errorf("%s is %v", key, v)
				}
			}
		})
	}
	if n := len(b.Target.transfers); n != 0 {
		t.Errorf("the target remembers %d transfers", n)
	}
}

// TestWrongBytesAreSeen changes what arrives in every way that a tunnel could.
func TestWrongBytesAreSeen(t *testing.T) {
	p := newPattern()
	whole := bytes.Repeat(p[:period], 3)
	const n = 100_000
	for name, change := range map[string]func() []byte{
		"nothing":          func() []byte { return whole[:10*n] },
		"a byte is wrong":  func() []byte { b := bytes.Clone(whole[:10*n]); b[5*n] ^= 1; return b },
		"a piece is lost":  func() []byte { return append(bytes.Clone(whole[:5*n]), whole[5*n+4096:10*n]...) },
		"a piece is twice": func() []byte { return append(bytes.Clone(whole[:5*n]), whole[5*n-65536:10*n]...) },
		"a period is lost": func() []byte { return append(bytes.Clone(whole[:5*n]), whole[5*n+1<<20:10*n+1<<20]...) },
	} {
		c := checker{pattern: p}
		var err error
		for data := change(); len(data) > 0 && err == nil; data = data[min(len(data), 1000):] {
			err = c.check(data[:min(len(data), 1000)])
		}
		if (err != nil) != (name != "nothing") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// damaging is a tunnel that changes a byte of every read or write.
type damaging struct {
	net.Conn

	read, written bool
}

func (d damaging) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.read && n > 0 {
		b[n-1] ^= 1
	}
	return n, err
}

func (d damaging) Write(b []byte) (int, error) {
	if !d.written || len(b) < 1000 {
		return d.Conn.Write(b)
	}
	changed := bytes.Clone(b)
	changed[0] ^= 1
	return d.Conn.Write(changed)
}

func TestATunnelThatDamagesFailsTheCase(t *testing.T) {
	for name, d := range map[string]damaging{"down1": {read: true}, "ping": {read: true}, "http64": {read: true}, "up1": {written: true}} {
		b := bench(t)
		dial := b.Dial
		b.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			return damaging{Conn: conn, read: d.read, written: d.written}, err
		}
		for _, c := range Cases() {
			if c.Name != name {
				continue
			}
			if values, err := c.Run(t.Context(), b); err == nil {
				t.Errorf("%s: %v", name, values)
			}
		}
	}
}

// TestATunnelThatIsStuckFailsTheCase has connections that nobody answers, and none at all.
func TestATunnelThatIsStuckFailsTheCase(t *testing.T) {
	b := bench(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // it has accepted nobody
	refused := errors.New("refused")
	for name, dial := range map[string]func(context.Context) (net.Conn, error){
		"nobody answers": func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
		},
		"no connection": func(context.Context) (net.Conn, error) { return nil, refused },
	} {
		b.Dial = dial
		for _, c := range Cases() {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			values, err := c.Run(ctx, b)
			cancel()
			if err == nil {
				t.Errorf("%s, %s: %v", c.Name, name, values)
			}
			if name == "no connection" && err != nil && !errors.Is(err, refused) {
				t.Errorf("%s does not say why: %v", c.Name, err)
			}
		}
	}
}

// TestTheTargetAnswersRequestsInPieces sends two requests byte by byte, and two in one.
func TestTheTargetAnswersRequestsInPieces(t *testing.T) {
	b := bench(t)
	conn, done, err := b.dial(t.Context(), opWithin)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, c := range page + page {
		if _, err := conn.Write([]byte{byte(c)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, page+page); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4*len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != strings.Repeat(text, 4) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestQuantiles(t *testing.T) {
	o := &operations{}
	for i := range 100 {
		o.times = append(o.times, time.Duration(i+1)*time.Microsecond)
	}
	for share, want := range map[float64]float64{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := o.quantile(share); got != want {
			t.Errorf("quantile %v is %v us, want %v", share, got, want)
		}
	}
}
