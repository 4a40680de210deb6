package outward

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"syscall"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/viaproxy"
)

// dialError says why there is no TCP connection.
func (r Relay) dialError(ctx context.Context, err error) error {
	if proxy, ok := errors.AsType[*viaproxy.Error](err); ok {
		return proxyError(ctx, proxy)
	}
	if e := r.Ended(ctx, err); e != nil {
		return e
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fail(postern.NameNotFound, err, "the relay's name "+dns.Name+" does not resolve")
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return fail(postern.BadAddress, err, "the relay's address "+r.Addr+" is not host:port")
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fail(postern.Refused, err, "nothing listens at "+r.Addr+"; is the relay running, and is this its "+r.Listener+"?")
	}
	return fail(postern.Unreachable, err, "the relay at "+r.Addr+" cannot be reached")
}

// proxyError is the failure of a proxy, which never counts as an answer of the relay.
func proxyError(ctx context.Context, err *viaproxy.Error) error {
	kind := postern.Unreachable
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		kind = postern.Aborted
	case err.Timeout:
		kind = postern.Timeout
	}
	return fail(kind, err, "the relay cannot be reached")
}

// handshakeError says why there is no TLS connection.
func (r Relay) handshakeError(ctx context.Context, err error) error {
	if own, ok := errors.AsType[*postern.Error](err); ok {
		return own
	}
	if _, ok := errors.AsType[*refused](err); ok {
		return fail(postern.Unauthenticated, err, "the relay at "+r.Addr+" is not the one that the pin asks for")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fail(postern.Unauthenticated, err,
			"the certificate of the relay at "+r.Addr+" is not trusted; give its CA with --ca, its pin with --pin, or a join string with --join")
	}
	if e := r.Ended(ctx, err); e != nil {
		return e
	}
	return r.alertError(err)
}

// The alerts of RFC 8446 §6.2 by which a relay says what it does not like: our protocol, or our certificate.
const (
	alertBadCertificate         tls.AlertError = 42
	alertUnsupportedCertificate tls.AlertError = 43
	alertCertificateRevoked     tls.AlertError = 44
	alertCertificateExpired     tls.AlertError = 45
	alertCertificateUnknown     tls.AlertError = 46
	alertUnknownCA              tls.AlertError = 48
	alertAccessDenied           tls.AlertError = 49
	alertProtocolVersion        tls.AlertError = 70
	alertCertificateRequired    tls.AlertError = 116
	alertNoApplicationProtocol  tls.AlertError = 120
)

func (r Relay) alertError(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fail(postern.Unreachable, err, "what answers at "+r.Addr+" does not speak TLS; is it a relay's "+r.Listener+"?")
	}
	switch {
	case isAlert(err, alertNoApplicationProtocol, alertProtocolVersion):
		return fail(postern.Unreachable, err, "what answers at "+r.Addr+" does not speak our protocol; is it a relay's "+r.Listener+"?")
	case isAlert(err, alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked, alertCertificateExpired,
		alertCertificateUnknown, alertUnknownCA, alertAccessDenied, alertCertificateRequired):
		return fail(postern.Unauthenticated, err, "the relay at "+r.Addr+" does not accept our certificate")
	}
	return fail(postern.Unreachable, err, "the relay at "+r.Addr+" broke the handshake off")
}

// isAlert reports whether err is one of the alerts, sent by the far end. Outside QUIC crypto/tls keeps the number in a type of its
// own, so only the text, which is the same, can be compared.
func isAlert(err error, alerts ...tls.AlertError) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && slices.ContainsFunc(alerts, func(a tls.AlertError) bool {
		return op.Err.Error() == a.Error()
	})
}

// Ended is the error for an attempt that took too long or was given up; nil for others.
func (r Relay) Ended(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fail(postern.Aborted, err, "connecting to the relay at "+r.Addr+" was given up")
	}
	if ctx.Err() != nil || postern.KindOf(err) == postern.Timeout {
		return fail(postern.Timeout, err, "the relay at "+r.Addr+" did not answer in time")
	}
	return nil
}

func fail(k postern.Kind, err error, detail string) error {
	return &postern.Error{Kind: k, Hop: postern.HopRelay, Detail: detail, Err: err}
}

// refused is what a caller's own check of the relay's certificate returned.
type refused struct{ err error }

// Error is the check's.
func (r *refused) Error() string { return r.err.Error() }

// Unwrap returns the check's error.
func (r *refused) Unwrap() error { return r.err }
