package socks5

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/postern-dev/postern"
)

// Versions, RFC 1928 §3 and RFC 1929 §2.
const (
	version4    = 0x04
	version5    = 0x05
	authVersion = 0x01
)

// Methods of authentication, RFC 1928 §3.
const (
	methodNone     = 0x00
	methodPassword = 0x02
	methodNoneFits = 0xff
)

// Answers to user and password, RFC 1929 §2. Everything but 0 is a failure.
const (
	authSucceeded = 0x00
	authFailed    = 0x01
)

// Commands, RFC 1928 §4.
const (
	commandConnect      = 0x01
	commandBind         = 0x02
	commandUDPAssociate = 0x03
)

// Types of address, RFC 1928 §5.
const (
	addressIPv4   = 0x01
	addressDomain = 0x03
	addressIPv6   = 0x04
)

// Replies, RFC 1928 §6.
const (
	replySucceeded          = 0x00
	replyGeneralFailure     = 0x01
	replyNotAllowed         = 0x02
	replyNetworkUnreachable = 0x03
	replyHostUnreachable    = 0x04
	replyRefused            = 0x05
	replyTTLExpired         = 0x06
	replyBadCommand         = 0x07
	replyBadAddressType     = 0x08
)

// What the first byte of a client that does not speak SOCKS5 shows.
var (
	errSOCKS4 = errors.New("the client speaks SOCKS4")
	errHTTP   = errors.New("the client speaks HTTP")
)

// methodsOfHTTP are the first letters of GET, HEAD, POST, PUT, PATCH, DELETE, CONNECT, OPTIONS and TRACE.
const methodsOfHTTP = "GHPDCOT"

// The readers below take exactly the bytes of their message from r and not one more: what a client sends behind
// its request belongs to the stream. A message that ends early is an io.ErrUnexpectedEOF, or io.EOF if
// not even its first byte came. Nothing they allocate exceeds 512 bytes.

// readGreeting reads the version and the methods that the client offers (RFC 1928 §3). The errors errSOCKS4 and errHTTP come
// after the first byte alone was taken.
func readGreeting(r io.Reader) (methods []byte, err error) {
	version, err := readByte(r)
	switch {
	case err != nil:
		return nil, err
	case version == version4:
		return nil, errSOCKS4
	case strings.IndexByte(methodsOfHTTP, version) >= 0:
		return nil, errHTTP
	case version != version5:
		return nil, postern.Errorf(postern.BadCommand, postern.HopClient, "the client's first byte is 0x%02x, SOCKS5 begins with 0x05", version)
	}
	return readCounted(r)
}

// readPassword reads user and password (RFC 1929 §2). Empty ones are left to whoever verifies them.
func readPassword(r io.Reader) (user, password string, err error) {
	version, err := readByte(r)
	if err != nil {
		return "", "", err
	}
	if version != authVersion {
		return "", "", postern.Errorf(postern.BadCommand, postern.HopClient, "the version of the password exchange is 0x%02x, not 0x01", version)
	}
	u, err := readCounted(r)
	if err != nil {
		return "", "", err
	}
	p, err := readCounted(r)
	if err != nil {
		return "", "", err
	}
	return string(u), string(p), nil
}

// request is what the client wants, as it stands on the wire (RFC 1928 §4).
type request struct {
	command byte
	host    string // a name as the client wrote it, or an IP address; may be empty
	port    uint16
}

// readRequest reads a request. An *Error of kind BadAddressType means that the rest of the
// request could not be read, because its length is not known.
func readRequest(r io.Reader) (request, error) {
	var head [4]byte // version, command, reserved, type of address
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return request{}, err
	}
	if head[0] != version5 {
		return request{}, postern.Errorf(postern.BadCommand, postern.HopClient, "the version of the request is 0x%02x, not 0x05", head[0])
	}
	host, err := readHost(r, head[3])
	if err != nil {
		return request{}, err
	}
	var port [2]byte
	if err := readRest(r, port[:]); err != nil {
		return request{}, err
	}
	return request{command: head[1], host: host, port: binary.BigEndian.Uint16(port[:])}, nil
}

// readHost reads an address of the given type (RFC 1928 §5).
func readHost(r io.Reader, kind byte) (string, error) {
	switch kind {
	case addressIPv4:
		var b [4]byte
		err := readRest(r, b[:])
		return netip.AddrFrom4(b).String(), err
	case addressIPv6:
		var b [16]byte
		err := readRest(r, b[:])
		return netip.AddrFrom16(b).String(), err
	case addressDomain:
		b, err := readCounted(r)
		return string(b), err
	}
	return "", postern.Errorf(postern.BadAddressType, postern.HopClient, "the type of address 0x%02x is not known", kind)
}

// appendReply writes a reply (RFC 1928 §6). An address that is not known, or not one of IP, is written as 0.0.0.0:0.
func appendReply(b []byte, code byte, bound net.Addr) []byte {
	ap := addrPort(bound)
	b = append(b, version5, code, 0)
	if ap.Addr().Is4() {
		b = append(b, addressIPv4)
	} else {
		b = append(b, addressIPv6)
	}
	b = append(b, ap.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, ap.Port())
}

func addrPort(a net.Addr) netip.AddrPort {
	if known, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		if ap := known.AddrPort(); ap.IsValid() {
			return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		}
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// replyCode is the reply for a failure of kind k (DESIGN §3, the failure table).
func replyCode(k postern.Kind) byte {
	switch k {
	case postern.OK:
		return replySucceeded
	case postern.Denied, postern.Unauthenticated:
		// Who fails to authenticate here gets the failure of RFC 1929; this is for a relay further on that turned us away.
		return replyNotAllowed
	case postern.AgentOffline, postern.Draining:
		return replyNetworkUnreachable
	case postern.NoSuchAgent, postern.Unreachable, postern.NameNotFound:
		return replyHostUnreachable
	case postern.Refused:
		return replyRefused
	case postern.Timeout:
		return replyTTLExpired
	case postern.BadCommand:
		return replyBadCommand
	case postern.BadAddressType:
		return replyBadAddressType
	case postern.Limited, postern.Overloaded, postern.Conflict, postern.BadAddress, postern.Internal, postern.Aborted:
		return replyGeneralFailure
	}
	return replyGeneralFailure // a kind of a later version
}

func readByte(r io.Reader) (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// readCounted reads a byte n and then n bytes, in the middle of a message.
func readCounted(r io.Reader) ([]byte, error) {
	var n [1]byte
	if err := readRest(r, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, n[0])
	err := readRest(r, b)
	return b, err
}

// readRest fills b in the middle of a message, where an end is never a proper one.
func readRest(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
