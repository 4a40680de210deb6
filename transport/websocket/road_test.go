package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/splice"
)

// The opcodes of RFC 6455 §5.2.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// roadTo is an agent's road, and what is beneath its far end.
func roadTo(t testing.TB) (near *road, far postern.Stream) {
	t.Helper()
	a, b := testnet.PipeSize(4 << 20)
	near = &road{beneath: bulkio.New(a)}
	answered := make(chan error, 1)
	go func() { answered <- acceptUpgrade(b) }()
	ws, _, err := websocket.Dial(t.Context(), "http://relay.example.com/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &once{near.beneath}}, OnPingReceived: near.answerPing,
	})
	if err := errors.Join(err, <-answered); err != nil {
		t.Fatal(err)
	}
	near.ws = ws
	ws.SetReadLimit(maxReceived)
	t.Cleanup(func() {
		splice.Abort(near)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return near, b
}

// frame is a frame of a server, which has no mask.
func frame(op byte, payload []byte) []byte {
	return append(frameHead(op, len(payload)), payload...)
}

func frameHead(op byte, length int) []byte {
	const fin = 0x80
	switch {
	case length < 126:
		return []byte{fin | op, byte(length)}
	case length < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{fin | op, 126}, uint16(length))
	}
	return binary.BigEndian.AppendUint64([]byte{fin | op, 127}, uint64(length))
}

func send(t *testing.T, to io.Writer, parts ...[]byte) {
	t.Helper()
	for _, p := range parts {
		if _, err := to.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

// readFrame reads a client's frame, and takes the mask off.
func readFrame(t *testing.T, from io.Reader) (op byte, payload []byte) {
	t.Helper()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(from, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	head := read(2)
	if head[1]&0x80 == 0 {
		t.Fatal("a client's frame has no mask")
	}
	length := int(head[1] & 0x7f)
	switch length {
	case 126:
		length = int(binary.BigEndian.Uint16(read(2)))
	case 127:
		length = int(binary.BigEndian.Uint64(read(8)))
	}
	mask := read(4)
	payload = read(length)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload
}

func TestBytesAcrossMessages(t *testing.T) {
	near, far := roadTo(t)
	want := []byte("one two three")
	send(t, far, frame(opBinary, want[:4]), frame(opBinary, nil), frame(opPong, []byte("?")), frame(opBinary, want[4:]))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(near, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	// A message in pieces: RFC 6455 §5.4.
	pieces := bytesOf(frame(opBinary, []byte("a")), frame(0, []byte("b")), frame(0, []byte("c")))
	pieces[0] &^= 0x80
	pieces[3] &^= 0x80
	send(t, far, pieces)
	if _, err := io.ReadFull(near, got[:3]); err != nil || string(got[:3]) != "abc" {
		t.Errorf("%q, %v", got[:3], err)
	}
}

func bytesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// On a slow line the beginning of a large message is there long before its end, and is a sign of life.
func TestALargeMessageIsReadAsItComes(t *testing.T) {
	near, far := roadTo(t)
	const there, whole = 5000, 60_000
	send(t, far, frameHead(opBinary, whole), make([]byte, there))
	if err := near.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, whole)
	got := 0
	for got <= there-peeked {
		n, err := near.Read(buf)
		if err != nil {
			t.Fatalf("of %d bytes that are there %d were read: %v", there, got, err)
		}
		got += n
	}
	send(t, far, make([]byte, whole-there))
	if n, err := io.ReadFull(near, buf[:whole-got]); err != nil {
		t.Errorf("the rest: %d bytes, %v", n, err)
	}
}

func TestMuchIsWrittenAtOnceInMessagesOfBoundedSize(t *testing.T) {
	near, far := roadTo(t)
	counted := &counting{Conn: near.beneath.Conn}
	near.beneath.Conn = counted
	want := bytes.Repeat([]byte("0123456789"), 12_000)
	if n, err := near.Write(want); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	if counted.writes != 1 {
		t.Errorf("%d writes", counted.writes)
	}
	var got []byte
	for len(got) < len(want) {
		op, payload := readFrame(t, far)
		if op != opBinary || len(payload) > maxSent {
			t.Errorf("a message of %d bytes, opcode %d", len(payload), op)
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, want) {
		t.Error("what arrived differs")
	}
}

type counting struct {
	net.Conn
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// However the WebSocket ends, it is no end of the bytes.
func TestNoEndIsClean(t *testing.T) {
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"closed":            {frame(opClose, []byte{0x03, 0xe8}), "was closed"},
		"closed, no reason": {frame(opClose, nil), "was closed"},
		"going away":        {frame(opClose, append([]byte{0x03, 0xe9}, "bye"...)), "bye"},
		"cut":               {nil, "unexpected EOF"},
		"cut in a head":     {[]byte{0x82}, "unexpected EOF"},
		"cut in a message":  {append(frameHead(opBinary, 10), "abc"...), "unexpected EOF"},
		"text":              {frame(opText, []byte("hello")), "text"},
		"too large":         {append(frameHead(opBinary, maxReceived+2), make([]byte, maxReceived+2)...), "limited"},
		"a huge length":     {[]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "payload length"},
		"an unknown opcode": {frame(5, []byte("x")), "opcode"},
		"reserved bits":     {[]byte{0xf2, 0}, "rsv"},
		"a large ping":      {frame(opPing, make([]byte, 200)), "control frame"},
		"noise":             {bytes.Repeat([]byte{0xff}, 4000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := roadTo(t)
			send(t, far, c.sent)
			if err := far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, struct{ io.Reader }{near})
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
		})
	}
}

func TestPings(t *testing.T) {
	near, far := roadTo(t)
	send(t, far, frame(opPing, []byte("are you there?")), frame(opBinary, []byte("x")))
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if op, payload := readFrame(t, far); op != opPong || string(payload) != "are you there?" {
		t.Errorf("%d %q", op, payload)
	}
	// A reader that waits for a writer which waits for the far end to read could wait for ever.
	near.writing.Store(true)
	send(t, far, frame(opPing, nil), frame(opBinary, []byte("x")))
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	near.writing.Store(false)
	if _, err := near.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	if op, payload := readFrame(t, far); op != opBinary || string(payload) != "y" {
		t.Errorf("%d %q", op, payload)
	}
}

func TestCloseSaysGoodbye(t *testing.T) {
	near, far := roadTo(t)
	done := make(chan error, 1)
	go func() { done <- near.Close() }()
	if op, payload := readFrame(t, far); op != opClose || !bytes.HasPrefix(payload, []byte{0x03, 0xe8}) {
		t.Errorf("%d %q", op, payload)
	}
	send(t, far, frame(opClose, []byte{0x03, 0xe8}))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitLong(t *testing.T) {
	near, _ := roadTo(t)
	start := time.Now()
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 3*closeTime {
		t.Errorf("it took %v though the far end says nothing", took)
	}
}

func TestAbortSaysNothing(t *testing.T) {
	near, far := roadTo(t)
	splice.Abort(near)
	if b, err := io.ReadAll(far); len(b) > 0 || err == nil {
		t.Errorf("the far end reads %q and a clean end", b)
	}
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("an aborted road can be read")
	}
	if _, err := near.Write(make([]byte, 1)); err == nil {
		t.Error("an aborted road can be written")
	}
}

// FuzzRead: whatever a server sends, reading ends with an error that is no clean end, and brings no more than was sent.
func FuzzRead(f *testing.F) {
	f.Add(frame(opBinary, []byte("hello")))
	f.Add(bytesOf(frame(opPing, []byte("?")), frame(opBinary, nil), frame(opClose, []byte{0x03, 0xe8})))
	f.Add(bytesOf([]byte{0x02, 1, 'a'}, frame(opPong, nil), frame(0, []byte("b"))))
	f.Add(frameHead(opBinary, 1<<30))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 1<<20 {
			return
		}
		near, far := roadTo(t)
		if _, err := far.Write(sent); err != nil || far.CloseWrite() != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, struct{ io.Reader }{near})
		if err == nil || errors.Is(err, io.EOF) || n > int64(len(sent)) {
			t.Errorf("%d of %d bytes, and then %v", n, len(sent), err)
		}
	})
}
