package relay

import (
	"fmt"

	"github.com/postern-dev/postern/internal/ready"
)

// ready tells whoever waits that every listener is open.
func (r *running) ready() error {
	if anyone(r.cfg) {
		r.log.Warn("auth is none: everybody who can reach this relay may be any agent and use every agent")
	}
	if r.own.inMemory {
		r.log.Warn("the relay's certificate lives in memory: its pin is another one after each start; --data DIR keeps it", "pin", r.own.pin)
	}
	addresses := r.lns.addresses()
	if path := r.cfg.ReadyFile; path != "" {
		if err := ready.Write(path, addresses); err != nil {
			return fmt.Errorf("ready-file: %w", err)
		}
	}
	args := []any{"version", r.opts.Version, "instance", r.instance}
	for _, key := range []string{"agents", "proxy", "socks", "web", "admin"} {
		if a, ok := addresses[key]; ok {
			args = append(args, key, a)
		}
	}
	if r.own.pin != "" {
		args = append(args, "pin", r.own.pin)
	}
	r.log.Info("relay is ready", args...)
	if r.opts.OnReady != nil {
		r.opts.OnReady(addresses)
	}
	return nil
}
