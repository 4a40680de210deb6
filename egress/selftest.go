package egress

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-dev/postern"
)

// selftestName is the service that Options.Selftest adds.
const selftestName = "selftest"

// maxSelftestDelay keeps a typing error from holding a stream for years.
const maxSelftestDelay = time.Hour

// selftestCommands is what the service understands. The first line of a stream is a command, ended by LF or CRLF:
//
//	echo              sends back what follows
//	discard           reads to the end, then sends the number of bytes as one line
//	source BYTES      sends that many bytes; byte number i, from 0, is i mod 251, so that a loss or shift shows
//	delay DURATION    waits (1500ms, 2s; at most 1h), then does as echo
//	status            sends one line of JSON about the agent: version, uptime_seconds, goroutines
//	abort [BYTES]     sends that many bytes as source does, then breaks the stream off
//
// The server ends its direction when the command is done. An unknown command gets one line that begins with "error:".
//
// If the first line is a request of HTTP/1, the same is there as /echo, /discard, /source?bytes=N, /delay?for=DURATION,
// /status and /abort?bytes=N, where the request's body takes the place of what follows; connections are kept alive.
const selftestCommands = "echo, discard, source BYTES, delay DURATION, status, abort [BYTES]"

// selftest serves streams in memory, one goroutine each.
type selftest struct {
	version string
	started time.Time
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	live   map[*duplex]struct{} // the server's ends
}

func newSelftest(version string) *selftest {
	return &selftest{version: version, started: time.Now(), live: make(map[*duplex]struct{})}
}

// open starts a server and returns the client's end of its stream.
func (s *selftest) open() (postern.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, postern.Errorf(postern.Draining, postern.HopAgent, "the agent is going away")
	}
	client, server := newDuplex()
	s.live[server] = struct{}{}
	s.running.Go(func() { s.serve(server) })
	return client, nil
}

// close breaks all streams off and waits for their servers.
func (s *selftest) close() {
	s.mu.Lock()
	s.closed = true
	for d := range s.live {
		d.Abort(postern.Draining)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// serve reads the first line, does what it says, and ends the stream.
func (s *selftest) serve(d *duplex) {
	defer func() {
		_ = d.Close() // a duplex closes without errors
		s.mu.Lock()
		delete(s.live, d)
		s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(d, maxSelftestLine)
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(err, bufio.ErrBufferFull) {
			s.answer(d, r, "error: the first line is longer than %d bytes\n", maxSelftestLine)
		}
		return // the client broke off
	}
	if isHTTPRequestLine(string(line)) {
		// The line is valid until the next read only; the head's reader wants it back.
		first := strings.NewReader(string(line))
		s.serveHTTP(d, io.MultiReader(first, r))
		return
	}
	s.command(d, r, strings.Fields(string(line)))
}

// maxSelftestLine bounds the first line; it is also the size of the reader's buffer.
const maxSelftestLine = 4 << 10

// command does one command. Errors of copying mean that the client broke off: there is nobody to be told.
func (s *selftest) command(d *duplex, r io.Reader, words []string) {
	name, arg := "", ""
	if len(words) > 0 {
		name = words[0]
	}
	if len(words) > 1 {
		arg = words[1]
	}
	switch {
	case len(words) > 2:
		name = "" // no command has two arguments
	case arg != "" && name != "source" && name != "delay" && name != "abort":
		name = ""
	case name == "abort" && arg == "":
		arg = "0"
	}
	switch name {
	case "echo":
		s.echo(d, r)
	case "discard":
		n, err := io.Copy(io.Discard, r)
		if err == nil {
			s.answer(d, r, "%d\n", n)
		}
	case "source", "abort":
		n, err := parseBytes(arg)
		if err != nil {
			s.answer(d, r, "error: %v\n", err)
			return
		}
		_, err = io.Copy(d, sourceReader(n))
		if name == "abort" {
			d.Abort(postern.Aborted)
		} else if err == nil {
			s.finish(d, r)
		}
	case "delay":
		wait, err := parseDelay(arg)
		if err != nil {
			s.answer(d, r, "error: %v\n", err)
		} else if d.sleep(wait) {
			s.echo(d, r)
		}
	case "status":
		s.answer(d, r, "%s\n", s.status())
	default:
		s.answer(d, r, "error: unknown command; the commands are %s\n", selftestCommands)
	}
}

func (s *selftest) echo(d *duplex, r io.Reader) {
	if _, err := io.Copy(d, r); err == nil {
		s.finish(d, r)
	}
}

func (s *selftest) answer(d *duplex, r io.Reader, format string, args ...any) {
	if _, err := fmt.Fprintf(d, format, args...); err == nil {
		s.finish(d, r)
	}
}

// finish ends our direction and waits for the end of the other one: closing before would make the client's last writes fail, and
// whoever carries them might then give up what we have sent.
func (s *selftest) finish(d *duplex, r io.Reader) {
	_ = d.CloseWrite()            // a duplex ends without errors
	_, _ = io.Copy(io.Discard, r) // an error is the client breaking off, which is an end too
}

// status is one line of JSON.
func (s *selftest) status() []byte {
	line, err := json.Marshal(struct {
		Version    string `json:"version"`
		Uptime     int64  `json:"uptime_seconds"`
		Goroutines int    `json:"goroutines"`
	}{s.version, int64(time.Since(s.started).Seconds()), runtime.NumGoroutine()})
	if err != nil {
		// Strings and numbers always marshal.
		return []byte("{}")
	}
	return line
}

// sleep waits, and reports whether the stream still lives afterwards.
func (d *duplex) sleep(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.ended:
		return false
	}
}

func parseBytes(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a number of bytes; write it in digits, as 1048576", postern.Clip(s))
	}
	return n, nil
}

func parseDelay(s string) (time.Duration, error) {
	wait, err := time.ParseDuration(s)
	if err != nil || wait < 0 || wait > maxSelftestDelay {
		return 0, fmt.Errorf("%q is not a duration from 0s to %v; write it as 1500ms or 2s", postern.Clip(s), maxSelftestDelay)
	}
	return wait, nil
}

// sourcePeriod is after how many bytes the pattern of source begins again: a prime, so that it does not fall together with any buffer's size.
const sourcePeriod = 251

// sourceReader reads n bytes of the pattern.
func sourceReader(n int64) io.Reader { return io.LimitReader(&source{}, n) }

type source struct{ next int }

func (s *source) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.next)
		if s.next++; s.next == sourcePeriod {
			s.next = 0
		}
	}
	return len(p), nil
}
