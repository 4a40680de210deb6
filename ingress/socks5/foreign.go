package socks5

import (
	"errors"

	"github.com/postern-dev/postern/ingress"
)

// reply4 says "request rejected or failed" in SOCKS4 and 4a: a zero, the code 91, and six bytes that clients ignore.
var reply4 = [8]byte{0, 0x5b}

// refuse4 answers a SOCKS4 client. SOCKS4 knows no passwords, so it can never be served where one is needed, and 4
// sends no names.
func refuse4(c *ingress.Conn, err error) error {
	_, werr := c.Write(reply4[:])
	return errors.Join(err, werr)
}

// hintHTTP is for a person who has put the SOCKS5 port where an HTTP proxy is wanted.
const hintHTTP = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 77\r\nConnection: close\r\n\r\n" +
	"This port speaks SOCKS5. Set it as a SOCKS5 proxy (curl: --socks5-hostname).\n"

// refuseHTTP answers an HTTP client.
func refuseHTTP(c *ingress.Conn, err error) error {
	_, werr := c.Write([]byte(hintHTTP))
	return errors.Join(err, werr)
}
