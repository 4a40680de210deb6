package mux

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/postern-dev/postern"
)

// A frame is a header of 8 bytes and a payload, all numbers big endian:
//
//	24 bits  length of the payload
//	 8 bits  type
//	32 bits  stream; 0 for frames of the connection itself
//
// The first frame of each end is SETTINGS, or CLOSE. The dialing end opens streams 1, 3, 5, ..., the server 2, 4, 6, ...,
// each in order and without gaps, so that a number alone tells a stream that is over (its late frames are
// dropped, races are normal) from one that never was (an error that ends the connection).
//
// CREDIT, BLOCKED and FIN count bytes from the beginning of their direction of the stream, so that they mean the
// same on whatever connection they arrive.
//
// A stream is over when each end has said FIN, or either has said RESET. Who no longer reads says STOP, and the far
// end answers with the FIN of a direction that nobody listens to, unless it has ended it already.
type frameType uint8

const (
	typeData     frameType = 1  // the stream's bytes, up to 64 KiB
	typeOpen     frameType = 2  // 4 bytes: what the far end may send at first; 4 bytes: what it said that the opener may send
	typeFin      frameType = 3  // 8 bytes: the length of this direction, which has been sent completely
	typeCredit   frameType = 4  // 8 bytes: up to which offset the far end may send
	typeBlocked  frameType = 5  // 8 bytes: the offset at which credit ran out while there was more to send
	typeReset    frameType = 6  // 1 byte: a Kind. Both directions are broken off
	typeStop     frameType = 7  // nothing. This end does not read any more
	typeSettings frameType = 8  // 2 bytes: version; 4 bytes: limit of streams; 4 bytes: first window; more is for later versions
	typePing     frameType = 9  // 8 bytes to be sent back
	typePong     frameType = 10 // 8 bytes from a PING
	typeClose    frameType = 11 // 1 byte: a Kind; up to 1 KiB: a reason. Nothing follows
)

// version is the first thing that the ends tell each other. It changes when an end that does not know a frame cannot go on;
// smaller changes travel as further fields of SETTINGS.
const version = 1

const (
	headerSize = 8
	maxData    = 64 << 10
	maxReason  = 1 << 10
)

// shapes is what a frame of each type must look like.
var shapes = [...]struct {
	name       string
	min, max   int
	connection bool // belongs to the connection, not to a stream
}{
	typeData:     {"DATA", 0, maxData, false},
	typeOpen:     {"OPEN", 8, 8, false},
	typeFin:      {"FIN", 8, 8, false},
	typeCredit:   {"CREDIT", 8, 8, false},
	typeBlocked:  {"BLOCKED", 8, 8, false},
	typeReset:    {"RESET", 1, 1, false},
	typeStop:     {"STOP", 0, 0, false},
	typeSettings: {"SETTINGS", 10, 256, true},
	typePing:     {"PING", 8, 8, true},
	typePong:     {"PONG", 8, 8, true},
	typeClose:    {"CLOSE", 1, 1 + maxReason, true},
}

// String is the type's name in messages.
func (t frameType) String() string {
	if t == 0 || int(t) >= len(shapes) {
		return fmt.Sprintf("type %d", uint8(t))
	}
	return shapes[t].name
}

// header is a frame's header.
type header struct {
	length int
	typ    frameType
	stream uint32
}

func parseHeader(b []byte) header {
	return header{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:    frameType(b[3]),
		stream: binary.BigEndian.Uint32(b[4:]),
	}
}

// check refuses a header that no version 1 end sends, before anything is kept for its payload.
func (h header) check() error {
	if h.typ == 0 || int(h.typ) >= len(shapes) {
		return violation("a frame of unknown type %d", uint8(h.typ))
	}
	shape := shapes[h.typ]
	switch {
	case h.length < shape.min || h.length > shape.max:
		return violation("a %v frame of %d bytes", h.typ, h.length)
	case shape.connection && h.stream != 0:
		return violation("a %v frame on stream %d", h.typ, h.stream)
	case !shape.connection && h.stream == 0:
		return violation("a %v frame without a stream", h.typ)
	}
	return nil
}

func appendHeader(b []byte, length int, t frameType, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(t))
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendNumber(b []byte, t frameType, stream uint32, n uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, 8, t, stream), n)
}

func appendOpen(b []byte, stream uint32, granted, assumed uint32) []byte {
	b = appendHeader(b, 8, typeOpen, stream)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, granted), assumed)
}

// settings is what an end says about itself.
type settings struct {
	maxStreams uint32
	window     uint32
}

func appendSettings(b []byte, s settings) []byte {
	b = appendHeader(b, 10, typeSettings, 0)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, s.maxStreams)
	return binary.BigEndian.AppendUint32(b, s.window)
}

func parseSettings(p []byte) (settings, error) {
	if v := binary.BigEndian.Uint16(p); v != version {
		return settings{}, &violated{postern.Errorf(postern.BadCommand, "",
			"the far end speaks version %d of the multiplexer and this one version %d; update the older of the two", v, version)}
	}
	return settings{maxStreams: binary.BigEndian.Uint32(p[2:]), window: binary.BigEndian.Uint32(p[6:])}, nil
}

func appendClose(b []byte, k postern.Kind, reason string) []byte {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	b = appendHeader(b, 1+len(reason), typeClose, 0)
	return append(append(b, byte(k)), reason...)
}

// violated is the far end's fault: it breaks the rules of this file, or follows those of another version.
type violated struct{ said *postern.Error }

// Error says what it did.
func (v *violated) Error() string { return v.said.Error() }

// Unwrap returns the error that the connection ends with.
func (v *violated) Unwrap() error { return v.said }

func violation(format string, args ...any) error {
	return &violated{postern.Errorf(postern.Internal, "", "the far end broke the multiplexer's protocol: "+format, args...)}
}
