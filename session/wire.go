package session

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"github.com/fxamacker/cbor/v2"

	"github.com/postern-dev/postern"
)

// The wire of a session, as docs/wire.md has it: every message is a length of four bytes, big endian, and that
// many bytes of CBOR (RFC 8949), a map with small integers as keys. Unknown keys are passed over, so that keys can be added.

// Version is the version of the wire that this program speaks; a hello offers a range.
const Version = 1

// The most bytes of a message. A hello comes before authentication, so its bound is the one of PROMISES P-14.
const (
	maxHello   = 8 << 10
	maxOpen    = 32 << 10
	maxControl = 32 << 10
)

// hello is the first message of the side that dialled, on the first stream.
type hello struct {
	MinVersion uint32   `cbor:"1,keyasint"`
	MaxVersion uint32   `cbor:"2,keyasint"`
	Role       string   `cbor:"3,keyasint"`           // agent or client
	Token      string   `cbor:"4,keyasint,omitempty"` // the credential
	Agent      string   `cbor:"5,keyasint,omitempty"` // the id claimed; the credential's own counts, except under auth none
	Instance   string   `cbor:"6,keyasint,omitempty"` // random for each process
	Software   string   `cbor:"7,keyasint,omitempty"`
	Scope      string   `cbor:"8,keyasint,omitempty"`  // see Scope
	Services   []string `cbor:"9,keyasint,omitempty"`  // names of declared services
	Relieves   string   `cbor:"10,keyasint,omitempty"` // the session that this one takes over from, gently
	Elsewhere  []string `cbor:"11,keyasint,omitempty"` // relays that the sender has a session with and wants no other
}

// welcome answers a hello.
type welcome struct {
	Kind      uint8    `cbor:"1,keyasint"` // a postern.Kind; 0 is welcome
	Detail    string   `cbor:"2,keyasint,omitempty"`
	Version   uint32   `cbor:"3,keyasint,omitempty"`
	Relay     string   `cbor:"4,keyasint,omitempty"` // this relay process: lanes and further connections must reach the same
	Addresses []string `cbor:"5,keyasint,omitempty"` // where this very relay can be reached
	Agent     string   `cbor:"6,keyasint,omitempty"` // the id granted
	Session   string   `cbor:"7,keyasint,omitempty"`
	Software  string   `cbor:"8,keyasint,omitempty"`
	Retry     uint32   `cbor:"9,keyasint,omitempty"` // of a refusal: how many milliseconds to wait before the next hello
}

// open is the first message on every stream after the control stream.
type open struct {
	Network string     `cbor:"1,keyasint"`
	Host    string     `cbor:"2,keyasint"`
	Port    uint16     `cbor:"3,keyasint,omitempty"`
	Agent   string     `cbor:"4,keyasint,omitempty"` // from a client's session: whom to ask
	Client  string     `cbor:"5,keyasint,omitempty"` // address of the client
	User    string     `cbor:"6,keyasint,omitempty"` // subject of the client's identity
	Trace   string     `cbor:"7,keyasint,omitempty"`
	Allow   [][]string `cbor:"8,keyasint,omitempty"` // rule sets beyond the agent's own
}

// answer answers an open; after an OK the stream's bytes follow.
type answer struct {
	Kind   uint8  `cbor:"1,keyasint"`
	Hop    string `cbor:"2,keyasint,omitempty"`
	Detail string `cbor:"3,keyasint,omitempty"`
	Bound  string `cbor:"4,keyasint,omitempty"` // the address that the target saw
	ID     uint64 `cbor:"5,keyasint,omitempty"` // of the ctlOpen that is answered; only on streams that the asked side opened
}

// control is a message on the control stream after hello and welcome, in either direction.
type control struct {
	Type   uint8  `cbor:"1,keyasint"`
	ID     uint64 `cbor:"2,keyasint,omitempty"` // pairs a request with its reply
	Kind   uint8  `cbor:"3,keyasint,omitempty"`
	Detail string `cbor:"4,keyasint,omitempty"`
	Token  string `cbor:"5,keyasint,omitempty"`
	// Network, Host and Port are the public port wanted, Target what it leads to.
	Network string `cbor:"6,keyasint,omitempty"`
	Port    uint16 `cbor:"7,keyasint,omitempty"`
	Target  string `cbor:"8,keyasint,omitempty"`
	Address string `cbor:"9,keyasint,omitempty"` // the public address that was opened
	// Open is what a stream shall lead to, Hop where that failed.
	Open *open  `cbor:"10,keyasint,omitempty"`
	Hop  string `cbor:"11,keyasint,omitempty"`
}

// The types of control messages. Unknown ones are passed over.
const (
	ctlDrain   = 1  // go away: open nothing more here, finish what you have
	ctlToken   = 2  // a fresh token for the next hello
	ctlExpose  = 3  // open a public port for as long as this session lives
	ctlExposed = 4  // the reply
	ctlOpen    = 5  // connect to a target, then open a stream that begins with the answer
	ctlRefused = 6  // the reply when that failed
	ctlCancel  = 7  // nobody waits for the stream any more
	ctlDrained = 8  // after a drain of either end: no stream is left here
	ctlPing    = 9  // are you there?
	ctlPong    = 10 // the reply
)

// decoding is strict about what could cost memory or be read in two ways.
var decoding = mustDecMode(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:  8,
	MaxArrayElements: 4096,
	MaxMapPairs:      64,
	IndefLength:      cbor.IndefLengthForbidden,
	TagsMd:           cbor.TagsForbidden,
	UTF8:             cbor.UTF8RejectInvalid,
})

func mustDecMode(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic("session: internal error: " + err.Error())
	}
	return m
}

// writeMessage sends m in one write.
func writeMessage(w io.Writer, m any, limit int) error {
	frame, err := encode(m, limit)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// encode makes a message of m, of at most limit bytes without its length.
func encode(m any, limit int) ([]byte, error) {
	body, err := cbor.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(body) > limit {
		return nil, postern.Errorf(postern.BadAddress, postern.HopRelay, "the message has %d bytes, at most %d are allowed", len(body), limit)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	return append(frame, body...), nil
}

// readMessage reads one message of at most limit bytes into m, and not a byte beyond it. A message that is malformed or too
// long is an *Error of kind BadCommand.
func readMessage(r io.Reader, m any, limit int) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > uint32(limit) {
		return postern.Errorf(postern.BadCommand, postern.HopRelay, "a message of %d bytes, allowed are 1 to %d", n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := decoding.Unmarshal(body, m); err != nil {
		return postern.Errorf(postern.BadCommand, postern.HopRelay, "a malformed message: %w", err)
	}
	return nil
}

// openOf is the wire form of a request.
func openOf(req *postern.Request) *open {
	o := &open{
		Network: string(req.Target.Network), Host: req.Target.Host, Port: req.Target.Port,
		Agent: string(req.Agent), Trace: req.Trace, Allow: req.Allow,
	}
	if req.Client.IsValid() {
		o.Client = req.Client.String()
	}
	if req.Identity != nil {
		o.User = req.Identity.Subject
	}
	return o
}

// request checks what came by wire and makes a Request of it.
func (o *open) request() (*postern.Request, error) {
	req := &postern.Request{
		Target: postern.Target{Network: postern.Network(o.Network), Host: o.Host, Port: o.Port},
		Trace:  o.Trace, Allow: o.Allow,
	}
	if err := req.Target.Valid(); err != nil {
		return nil, err
	}
	if o.Agent != "" {
		id, err := postern.ParseAgentID(o.Agent)
		if err != nil {
			return nil, err
		}
		req.Agent = id
	}
	if o.Client != "" {
		client, err := netip.ParseAddrPort(o.Client)
		if err != nil {
			return nil, postern.Errorf(postern.BadAddress, postern.HopRelay, "the client's address is malformed")
		}
		req.Client = client
	}
	if o.User != "" {
		req.Identity = &postern.Identity{Subject: o.User}
	}
	return req, nil
}

// errorFromWire is nil for OK only: a kind that this version does not know is an error too.
func errorFromWire(kind uint8, hop, detail string) error {
	if kind == 0 {
		return nil
	}
	return &postern.Error{Kind: postern.Kind(kind), Hop: postern.Hop(hop), Detail: clipTo(detail, maxDetail)}
}
