package mux

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

// The bytes on the wire are a contract with other versions.
func TestFramesOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"DATA", append(appendHeader(nil, 2, typeData, 7), "hi"...), "\x00\x00\x02\x01\x00\x00\x00\x07hi"},
		{"OPEN", appendOpen(nil, 1, 0x40000, 0x8000), "\x00\x00\x08\x02\x00\x00\x00\x01\x00\x04\x00\x00\x00\x00\x80\x00"},
		{"FIN", appendNumber(nil, typeFin, 0x01020304, 1<<40), "\x00\x00\x08\x03\x01\x02\x03\x04\x00\x00\x01\x00\x00\x00\x00\x00"},
		{"CREDIT", appendNumber(nil, typeCredit, 2, 9), "\x00\x00\x08\x04\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x09"},
		{"BLOCKED", appendNumber(nil, typeBlocked, 2, 9), "\x00\x00\x08\x05\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x09"},
		{"STOP", appendHeader(nil, 0, typeStop, 3), "\x00\x00\x00\x07\x00\x00\x00\x03"},
		{"SETTINGS", appendSettings(nil, settings{2, 0x40000}), "\x00\x00\x0a\x08\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x04\x00\x00"},
		{"CLOSE", appendClose(nil, postern.Draining, "bye"), "\x00\x00\x04\x0b\x00\x00\x00\x00\x05bye"},
	} {
		if diff := cmp.Diff([]byte(c.want), c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestCloseCutsALongReasonAtACharacter(t *testing.T) {
	b := appendClose(nil, postern.Internal, strings.Repeat("a", maxReason-1)+"ü")
	if got, want := len(b), headerSize+1+maxReason-1; got != want {
		t.Errorf("the frame has %d bytes, want %d", got, want)
	}
}

func TestHeadersThatNobodySends(t *testing.T) {
	for _, c := range []struct {
		name string
		h    header
		want string
	}{
		{"type 0", header{0, 0, 1}, "unknown type 0"},
		{"unknown type", header{0, 12, 1}, "unknown type 12"},
		{"highest type", header{0, 255, 0}, "unknown type 255"},
		{"long DATA", header{maxData + 1, typeData, 1}, "DATA frame of 65537 bytes"},
		{"longest DATA", header{1<<24 - 1, typeData, 1}, "DATA frame of 16777215 bytes"},
		{"short OPEN", header{7, typeOpen, 1}, "OPEN frame of 7 bytes"},
		{"long RESET", header{2, typeReset, 1}, "RESET frame of 2 bytes"},
		{"empty CLOSE", header{0, typeClose, 0}, "CLOSE frame of 0 bytes"},
		{"long CLOSE", header{maxReason + 2, typeClose, 0}, "CLOSE frame of 1026 bytes"},
		{"DATA without stream", header{1, typeData, 0}, "DATA frame without a stream"},
		{"PING on a stream", header{8, typePing, 3}, "PING frame on stream 3"},
	} {
		err := c.h.check()
		if _, ok := errors.AsType[*violated](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a violation with %q", c.name, err, c.want)
		}
	}
}

// someFrames is a stretch of wire with frames of all sizes.
func someFrames() []byte {
	b := appendSettings(nil, settings{2, 100})
	b = appendOpen(b, 1, 5, 6)
	for _, n := range []int{0, 1, smallRead, maxData, 3, maxData, maxData, 1} {
		b = append(appendHeader(b, n, typeData, 1), bytes.Repeat([]byte{byte(n)}, n)...)
	}
	b = appendNumber(b, typeFin, 1, 77)
	return appendClose(b, postern.OK, "that was all")
}

// fewFrames is one frame of each type.
func fewFrames() []byte {
	b := appendSettings(nil, settings{2, 100})
	b = appendOpen(b, 1, 5, 6)
	b = append(appendHeader(b, 2, typeData, 1), "hi"...)
	for _, t := range []frameType{typeCredit, typeBlocked} {
		b = appendNumber(b, t, 1, 5)
	}
	for _, t := range []frameType{typePing, typePong} {
		b = appendNumber(b, t, 0, 5)
	}
	b = appendNumber(b, typeFin, 1, 2)
	b = appendHeader(b, 0, typeStop, 1)
	b = append(appendHeader(b, 1, typeReset, 1), byte(postern.Denied))
	return appendClose(b, postern.OK, "that was all")
}

func TestFrameReaderHoweverTheBytesCome(t *testing.T) {
	wire := someFrames()
	for name, road := range map[string]io.Reader{
		"at once":           bytes.NewReader(wire),
		"one by one":        iotest.OneByteReader(bytes.NewReader(wire)),
		"in halves":         iotest.HalfReader(bytes.NewReader(wire)),
		"error with bytes":  iotest.DataErrReader(bytes.NewReader(wire)),
		"in 4 KiB at most ": &limitedReads{bytes.NewReader(wire), smallRead},
	} {
		got, err := readAll(road)
		if err != io.EOF {
			t.Errorf("%s: %v, want io.EOF", name, err)
		}
		if !bytes.Equal(got, wire) {
			t.Errorf("%s: the frames read are not those written", name)
		}
	}
}

type limitedReads struct {
	r    io.Reader
	most int
}

func (l *limitedReads) Read(p []byte) (int, error) { return l.r.Read(p[:min(len(p), l.most)]) }

// readAll reads frames until an error and puts them together again.
func readAll(road io.Reader) (wire []byte, err error) {
	var b buffers
	frames := newFrameReader(road, &b, func() {})
	defer frames.release()
	for {
		f, err := frames.next()
		if err != nil {
			return wire, err
		}
		wire = append(appendHeader(wire, f.length, f.typ, f.stream), f.payload...)
	}
}

func TestFrameReaderTellsATruncatedFrame(t *testing.T) {
	wire := appendNumber(nil, typePing, 0, 1)
	for n := 1; n < len(wire); n++ {
		if _, err := readAll(bytes.NewReader(wire[:n])); err != io.ErrUnexpectedEOF {
			t.Errorf("after %d of %d bytes: %v, want io.ErrUnexpectedEOF", n, len(wire), err)
		}
	}
}

func TestFrameReaderGivesUpOnARoadThatBringsNothing(t *testing.T) {
	if _, err := readAll(&limitedReads{bytes.NewReader([]byte("x")), 0}); err != io.ErrNoProgress {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
}

// A connection that was busy must not hold its large buffer for ever.
func TestFrameReaderGivesTheLargeBufferBack(t *testing.T) {
	var b buffers
	road, far := io.Pipe()
	t.Cleanup(func() { far.Close() })
	frames := newFrameReader(road, &b, func() {})
	steps := [][]byte{
		append(appendHeader(nil, maxData, typeData, 1), make([]byte, maxData)...),
		appendNumber(nil, typePing, 0, 1),
		appendNumber(nil, typePing, 0, 2),
	}
	for i, wire := range steps {
		go func() { _, _ = far.Write(wire) }()
		if _, err := frames.next(); err != nil {
			t.Fatal(err)
		}
		if got, want := frames.large != nil, i < 2; got != want {
			t.Errorf("after step %d: large buffer held: %v, want %v", i, got, want)
		}
	}
}

func FuzzFrameReader(f *testing.F) {
	f.Add(fewFrames())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(appendHeader(nil, 1<<24-1, typeData, 1))
	f.Add(appendSettings(nil, settings{}))
	f.Fuzz(func(t *testing.T, wire []byte) {
		road := bytes.NewReader(wire)
		got, err := readAll(iotest.HalfReader(road))
		if err == nil {
			t.Fatal("the end of the road is no error")
		}
		// What was taken for frames is a prefix of what was sent, and all of it unless the rest is no frame.
		if !bytes.HasPrefix(wire, got) {
			t.Fatalf("%x was read as %x", wire, got)
		}
		if err == io.EOF && len(got) != len(wire) {
			t.Fatalf("a clean end after %d of %d bytes", len(got), len(wire))
		}
	})
}
