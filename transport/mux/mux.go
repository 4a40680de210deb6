// Package mux carries streams over one ordered stream of bytes: TLS over TCP, WebSocket, long-poll. It is Postern's own
// (DESIGN D1 to D3); frame.go has the wire.
//
//	conn := mux.New(road, mux.Options{Server: true, MaxStreams: 16384})
//	defer conn.CloseWithError(postern.Draining, "going away")
//	for {
//		stream, err := conn.AcceptStream(ctx)
//		if err != nil {
//			return err // says who ended the connection, and why
//		}
//		go serve(stream)
//	}
//
// A goroutine that has bytes writes them to the road itself; a writer goroutine takes over when there is more than
// that. The demultiplexer (demux.go) reads the road and never waits for anything else: neither for a stream that
// nobody reads, for which credit is the limit, nor for its own answers, which it leaves to the writer.
package mux

import (
	"cmp"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// The defaults of Options.
const (
	defaultMaxStreams = 2
	defaultWindow     = 256 << 10
	defaultMaxWindow  = 4 << 20
	defaultMaxQueued  = 64 << 20
)

// Options configure a Conn. The zero value is the dialing end with the defaults.
type Options struct {
	// Server is true at exactly one of the two ends. The server's streams have even numbers, the other's odd ones.
	Server bool
	// MaxStreams is how many streams the far end may have open at once; 0 means 2.
	MaxStreams int
	// Info is what Conn.Info returns; Local and Remote are taken from the road where they are nil.
	Info transport.Info
	// Log gets how the connection ended, at debug level; nil is silent.
	Log *slog.Logger
	// Window is how many bytes of a new stream the far end may send before any of them is read; 0 means 256 KiB.
	// New streams get less where very many are open, see credit.go.
	Window int
	// MaxWindow is what Window grows to for a stream whose reader keeps up; 0 means 4 MiB.
	MaxWindow int
	// MaxQueued bounds the bytes received and not yet read, of all streams; 0 means 64 MiB.
	MaxQueued int
}

func (o Options) withDefaults(road net.Conn) Options {
	o.MaxStreams = cmp.Or(o.MaxStreams, defaultMaxStreams)
	o.Window = cmp.Or(o.Window, defaultWindow)
	o.MaxWindow = max(cmp.Or(o.MaxWindow, defaultMaxWindow), o.Window)
	o.MaxQueued = cmp.Or(o.MaxQueued, defaultMaxQueued)
	if o.Info.Local == nil {
		o.Info.Local = road.LocalAddr()
	}
	if o.Info.Remote == nil {
		o.Info.Remote = road.RemoteAddr()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Conn is one end of a multiplexed connection. All methods may be called concurrently.
type Conn struct {
	road    net.Conn
	opts    Options
	buffers buffers
	started time.Time
	heard   atomic.Int64 // when the last byte was read, in nanoseconds since started

	failed     chan struct{} // closed when err is set
	readerDone chan struct{} // closed when the demultiplexer has returned
	finished   chan struct{} // closed when nothing runs any more

	// mu guards everything below and the streams, but for what they say otherwise. It is never held while
	// the road is read or written.
	mu      sync.Mutex
	err     *postern.Error // why the connection is over; nil while it lives
	streams map[uint32]*Stream

	// The far end's streams.
	nextRemote  uint32 // the number that it opens next
	remoteOpen  int
	backlog     []*Stream // opened, not yet accepted
	backlogCond sync.Cond
	announced   int // the first window that it was told last

	// Our streams. One that has not sent anything yet has no number and is in fresh.
	nextLocal uint32
	fresh     map[*Stream]struct{}
	localOpen int
	openCond  sync.Cond
	remote    settings // what the far end said last
	greeted   bool     // it has said something

	// What waits to be written, see flush.go.
	flushing   bool      // somebody writes to the road
	flushSince time.Time // since when
	broken     error     // the road takes no more bytes
	workCond   sync.Cond // wakes the writer goroutine
	urgent     fifo      // streams with control or small frames
	bulk       fifo      // streams with large writes, in turn
	control    control   // frames of the connection itself

	clean  bool // the road may be closed rather than broken off
	queued int  // bytes received and not yet read, of all streams
	grown  int  // by how much windows exceed what they started with, of all streams
}

var (
	_ transport.Conn    = (*Conn)(nil)
	_ transport.Witness = (*Conn)(nil)
)

// New starts a Conn over road and owns it from then on. It does not wait for the far end. The caller ends
// the Conn with CloseWithError.
func New(road net.Conn, opts Options) *Conn {
	c := &Conn{
		road:       road,
		opts:       opts.withDefaults(road),
		started:    time.Now(),
		failed:     make(chan struct{}),
		readerDone: make(chan struct{}),
		finished:   make(chan struct{}),
		streams:    make(map[uint32]*Stream),
		fresh:      make(map[*Stream]struct{}),
		nextLocal:  1,
	}
	if opts.Server {
		c.nextLocal = 2
	}
	c.nextRemote = 3 - c.nextLocal
	for _, cond := range []*sync.Cond{&c.backlogCond, &c.openCond, &c.workCond} {
		cond.L = &c.mu
	}
	c.announced = c.opts.Window
	c.control.settings = true
	go c.run()
	return c
}

// Info says what the connection is.
func (c *Conn) Info() transport.Info { return c.opts.Info }
