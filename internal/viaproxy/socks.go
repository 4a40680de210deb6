package viaproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// The numbers of RFC 1928 and RFC 1929.
const (
	socksVersion = 5

	methodNone     = 0x00
	methodPassword = 0x02
	methodRefused  = 0xff

	passwordVersion = 1

	commandConnect = 1

	typeIPv4   = 1
	typeDomain = 3
	typeIPv6   = 4
)

// askSocks asks a SOCKS5 proxy for a connection to addr, and reads no byte after its answer.
func askSocks(conn net.Conn, user *url.Userinfo, addr string) error {
	request, err := socksRequest(addr)
	if err != nil {
		return err
	}
	if err := socksGreet(conn, user); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return socksReply(conn)
}

// socksGreet agrees on a method, and proves who we are if it is that (RFC 1928 §3).
func socksGreet(conn net.Conn, user *url.Userinfo) error {
	methods := []byte{methodNone}
	if user != nil {
		methods = append(methods, methodPassword)
	}
	if _, err := conn.Write(append([]byte{socksVersion, byte(len(methods))}, methods...)); err != nil {
		return err
	}
	var chosen [2]byte
	if _, err := io.ReadFull(conn, chosen[:]); err != nil {
		return fmt.Errorf("its greeting cannot be read; is it a SOCKS5 proxy? %w", err)
	}
	switch {
	case chosen[0] != socksVersion:
		return errors.New("it does not speak SOCKS5; is it an HTTP proxy? Write http:// then")
	case chosen[1] == methodNone:
		return nil
	case chosen[1] == methodPassword && user != nil:
		return socksPassword(conn, user)
	case chosen[1] == methodRefused && user == nil:
		return errors.New("it wants to know who we are; give user and password: socks5://USER:PASSWORD@host:port")
	}
	return errors.New("it takes neither nobody in particular nor a user with a password")
}

// socksPassword is RFC 1929 §2.
func socksPassword(conn net.Conn, user *url.Userinfo) error {
	password, _ := user.Password()
	name := user.Username()
	if len(name) == 0 || len(name) > 255 || len(password) > 255 {
		return errors.New("SOCKS5 takes users and passwords of 1 to 255 bytes")
	}
	message := append([]byte{passwordVersion, byte(len(name))}, name...)
	message = append(append(message, byte(len(password))), password...)
	if _, err := conn.Write(message); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errors.New("user and password are not the right ones")
	}
	return nil
}

// socksRequest is RFC 1928 §4. Names go to the proxy as they are.
func socksRequest(addr string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	b := []byte{socksVersion, commandConnect, 0}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.Unmap().Is4():
		b = append(append(b, typeIPv4), ip.Unmap().AsSlice()...)
	case err == nil:
		b = append(append(b, typeIPv6), ip.WithZone("").AsSlice()...)
	case len(host) > 255:
		return nil, fmt.Errorf("the name %.40s... has more than 255 bytes", host)
	default:
		b = append(append(b, typeDomain, byte(len(host))), host...)
	}
	return append(b, byte(port>>8), byte(port)), nil
}

// socksReply is RFC 1928 §6. The address that the proxy is bound to has no use here.
func socksReply(conn net.Conn) error {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("it ended without an answer: %w", err)
	}
	if head[0] != socksVersion {
		return errors.New("its answer is not of SOCKS5")
	}
	if head[1] != 0 {
		return fmt.Errorf("it answers: %s", socksFailure(head[1]))
	}
	rest := 2 // the port
	switch head[3] {
	case typeIPv4:
		rest += net.IPv4len
	case typeIPv6:
		rest += net.IPv6len
	case typeDomain:
		var length [1]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return err
		}
		rest += int(length[0])
	default:
		return errors.New("its answer has an address of no known type")
	}
	_, err := io.CopyN(io.Discard, conn, int64(rest))
	return err
}

// socksFailure says the reply codes of RFC 1928 §6.
func socksFailure(code byte) string {
	sentences := [...]string{
		1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
		5: "connection refused", 6: "TTL expired", 7: "CONNECT is not supported", 8: "this type of address is not supported",
	}
	if int(code) < len(sentences) {
		return sentences[code]
	}
	return fmt.Sprintf("failure %d", code)
}
