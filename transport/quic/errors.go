package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/netip"
	"syscall"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
)

// cryptoError is the first of the transport errors that stand for TLS alerts (RFC 9001 §4.8).
const cryptoError quic.TransportErrorCode = 0x100

// The TLS alerts that are about certificates, and the one about the application protocol (RFC 8446 §6.2, RFC 7301 §3.2).
const (
	alertBadCertificate      = 42
	alertUnknownCA           = 48
	alertAccessDenied        = 49
	alertCertificateRequired = 116
	alertNoApplication       = 120
)

// closeKind is the kind that a code of CONNECTION_CLOSE stands for.
func closeKind(code uint64) postern.Kind {
	if code > math.MaxUint8 {
		return postern.Aborted
	}
	return postern.Kind(code)
}

// streamKind is the kind that a code of RESET_STREAM or STOP_SENDING stands for. A stream is not broken off for no reason.
func streamKind(code uint64) postern.Kind {
	if k := closeKind(code); k != postern.OK {
		return k
	}
	return postern.Aborted
}

// connError says why a connection is over.
func connError(err error) *postern.Error {
	if e, ok := errors.AsType[*postern.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &postern.Error{Kind: closeKind(uint64(e.ErrorCode)), Detail: e.ErrorMessage}
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		return transportError(e)
	}
	if isTimeout(err) {
		return &postern.Error{Kind: postern.Timeout, Detail: "the far end gave no sign of life", Err: err}
	}
	return &postern.Error{Kind: postern.Aborted, Detail: "the connection broke", Err: err}
}

// transportError tells what the peers' TLS said from breaches of the protocol.
func transportError(e *quic.TransportError) *postern.Error {
	switch alert := e.ErrorCode - cryptoError; {
	case e.ErrorCode == quic.ConnectionRefused:
		return &postern.Error{Kind: postern.Overloaded, Detail: "the far end takes no more connections at present", Err: e}
	case e.ErrorCode < cryptoError:
	case alert == alertNoApplication:
		return &postern.Error{Kind: postern.BadCommand, Detail: "the far end does not speak this version of Postern's protocol there; compare both versions, and the port", Err: e}
	case alert >= alertBadCertificate && alert <= alertAccessDenied, alert == alertCertificateRequired:
		return &postern.Error{Kind: postern.Unauthenticated, Detail: "the certificate was not accepted", Err: e}
	}
	return &postern.Error{Kind: postern.Aborted, Detail: "the connection broke", Err: e}
}

// dialError says why the relay at addr could not be reached.
func dialError(err error, addr netip.AddrPort) *postern.Error {
	failed := &postern.Error{Kind: postern.Unreachable, Hop: postern.HopRelay, Detail: "the relay at " + addr.String() + " cannot be reached", Err: err}
	transportErr, isTransport := errors.AsType[*quic.TransportError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isVersion := errors.AsType[*quic.VersionNegotiationError](err)
	switch {
	case isCertificate:
		failed.Kind, failed.Detail = postern.Unauthenticated, "the relay at "+addr.String()+" is not the one asked for"
	case isTransport:
		said := transportError(transportErr)
		failed.Detail = "the relay at " + addr.String() + ": " + said.Detail
		if said.Kind != postern.Aborted {
			failed.Kind = said.Kind
		}
	case isVersion:
		failed.Kind, failed.Detail = postern.BadCommand, "the relay at "+addr.String()+" speaks another version of QUIC"
	case errors.Is(err, context.Canceled):
		return givenUp(err, "dialling "+addr.String()+" was given up")
	case errors.Is(err, syscall.ECONNREFUSED):
		failed.Kind, failed.Detail = postern.Refused, "nothing listens at "+addr.String()+" over UDP; is the relay running, and is this its agents port?"
	case isTimeout(err):
		failed.Kind, failed.Detail = postern.Timeout, "no answer over UDP from "+addr.String()+"; a firewall may drop UDP, or no relay is there"
	}
	return failed
}

// isTimeout knows the errors of quic-go, which also say net.ErrClosed, and those of contexts.
func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// givenUp is the end of a caller's patience; err is the context's.
func givenUp(err error, what string) *postern.Error {
	k := postern.Aborted
	if errors.Is(err, context.DeadlineExceeded) {
		k = postern.Timeout
	}
	return &postern.Error{Kind: k, Detail: what, Err: err}
}
