// Package join packs all that somebody needs to come to a relay into one string: where it is, how to know it, and a token.
//
//	s, err := join.Join{Addresses: []string{"relay.example.com:4242"}, Pin: ca.Pin(), Token: token}.Encode()
//	j, err := join.Parse(s)
//
// The string is "postern-join-" and the base64url of: a version byte (1), the length of what follows in two bytes,
// a CBOR map (RFC 8949), and the first four bytes of the SHA-256 of all before. The sum finds what was lost in copying; it proves nothing.
package join

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/postern-dev/postern/internal/pki"
)

// Join is what a join string says. It holds a secret, so it writes itself without it; Encode alone gives the string.
type Join struct {
	// Addresses are where the relay's agents port is, host:port each, in order of preference.
	Addresses []string
	// Web is the URL of the relay's web listener, for transports over HTTP; empty if it has none.
	Web string
	// Pin is the pin of the relay's CA; empty for a relay with a certificate that everybody trusts.
	Pin string
	// Token proves who the holder is.
	Token string
}

const (
	prefix     = "postern-join-"
	version    = 1
	headerSize = 3
	sumSize    = 4
	// maxString is more than the longest token and all addresses need.
	maxString = 32 << 10
)

// wire is the CBOR map. Keys are appended, never used anew; unknown ones are passed over.
type wire struct {
	Addresses []string `cbor:"1,keyasint,omitempty"`
	Web       string   `cbor:"2,keyasint,omitempty"`
	Pin       []byte   `cbor:"3,keyasint,omitempty"`
	Token     string   `cbor:"4,keyasint,omitempty"`
}

// Encode returns the join string. It fails if j says what Parse would refuse.
func (j Join) Encode() (string, error) {
	if err := j.check(); err != nil {
		return "", fmt.Errorf("make a join string: %w", err)
	}
	w := wire{Addresses: j.Addresses, Web: j.Web, Token: j.Token}
	if j.Pin != "" {
		sum, err := pki.ParsePin(j.Pin)
		if err != nil {
			return "", fmt.Errorf("make a join string: %w", err)
		}
		w.Pin = sum[:]
	}
	body, err := cbor.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("make a join string: %w", err)
	}
	return seal(body), nil
}

// seal puts version, length and sum around the CBOR. check has bounded its length.
func seal(body []byte) string {
	packed := binary.BigEndian.AppendUint16([]byte{version}, uint16(len(body)))
	packed = append(packed, body...)
	packed = append(packed, checksum(packed)...)
	return prefix + base64.RawURLEncoding.EncodeToString(packed)
}

// Read returns what the join string says that a secret of the configuration holds, or the file that it names.
func Read(secret interface{ Read() (string, error) }) (Join, error) {
	text, err := secret.Read()
	if err != nil {
		return Join{}, fmt.Errorf("join: %w", err)
	}
	j, err := Parse(text)
	if err != nil {
		return Join{}, fmt.Errorf("join: %w", err)
	}
	return j, nil
}

// Parse returns what a join string says. White space in and around it, as terminals and mail programs put there, does not matter.
// The errors never repeat the string, which is a secret.
func Parse(s string) (Join, error) {
	if len(s) > maxString {
		return Join{}, fmt.Errorf("the join string has %d characters, which is more than any has", len(s))
	}
	text, ok := strings.CutPrefix(strings.Join(strings.Fields(s), ""), prefix)
	if !ok {
		return Join{}, errors.New("that is not a join string: it begins with " + prefix + " (a file that has one is given as @FILE)")
	}
	body, err := unpack(text)
	if err != nil {
		return Join{}, err
	}
	dec, err := decMode()
	if err != nil {
		return Join{}, err
	}
	var w wire
	if err := dec.Unmarshal(body, &w); err != nil {
		return Join{}, errors.New("the join string is damaged inside; ask for a new one")
	}
	j := Join{Addresses: w.Addresses, Web: w.Web, Token: w.Token}
	if len(w.Pin) != 0 {
		if len(w.Pin) != sha256.Size {
			return Join{}, errors.New("the join string has a pin of the wrong length; ask for a new one")
		}
		j.Pin = fmt.Sprintf("sha256:%x", w.Pin)
	}
	if err := j.check(); err != nil {
		return Join{}, fmt.Errorf("the join string cannot be used: %w", err)
	}
	return j, nil
}

// unpack checks version, length and sum, and returns the CBOR.
func unpack(text string) ([]byte, error) {
	const again = "copy it again, whole"
	// A cut may leave one character over, which is no base64; the length tells what is missing, so look at it first.
	whole := text[:len(text)-len(text)%4]
	packed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		if packed, err = base64.RawURLEncoding.Strict().DecodeString(whole); err != nil {
			return nil, errors.New("the join string has a character that does not belong there; " + again)
		}
	}
	if len(packed) < headerSize {
		return nil, errors.New("the join string breaks off at its beginning; " + again)
	}
	if packed[0] != version {
		return nil, fmt.Errorf("the join string is of version %d and this Postern reads version %d; install a newer one here", packed[0], version)
	}
	total := headerSize + int(binary.BigEndian.Uint16(packed[1:headerSize])) + sumSize
	wanted := base64.RawURLEncoding.EncodedLen(total)
	switch {
	case len(text) < wanted:
		return nil, fmt.Errorf("the join string breaks off: %d of its %d characters are missing at the end; %s", wanted-len(text), len(prefix)+wanted, again)
	case len(text) > wanted:
		return nil, fmt.Errorf("the join string has %d characters too many at the end; %s", len(text)-wanted, again)
	case err != nil || len(packed) != total || !bytes.Equal(checksum(packed[:total-sumSize]), packed[total-sumSize:]):
		return nil, errors.New("the join string was changed on its way: its sum does not fit; " + again)
	}
	return packed[headerSize : total-sumSize], nil
}

func checksum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:sumSize]
}

// decMode bounds what a string of strangers can make us do.
func decMode() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      64,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
}

// String writes where the join string leads, without the token.
func (j Join) String() string { return "join string for " + strings.Join(j.Addresses, ", ") }

// GoString is String: %#v writes no secret either.
func (j Join) GoString() string { return j.String() }

// LogValue implements slog.LogValuer, without the token.
func (j Join) LogValue() slog.Value { return slog.StringValue(j.String()) }
