package ingress

import (
	"context"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// Identify verifies a credential inside Handshake, for a protocol that has to say whether it is right before the client
// names its target (SOCKS5). Such a protocol returns the identity as Wish.Verified, beside the credential. A
// server without Auth identifies nobody: it returns nil and no error.
func (s *Server) Identify(ctx context.Context, c *Conn, credential auth.Credential) (*postern.Identity, error) {
	return s.identify(ctx, c, Wish{Credential: &credential})
}
