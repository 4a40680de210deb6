package agent

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/postern-dev/postern/internal/ready"
)

// readyRelay is one entry of the ready file, in the form that outside programs read (DESIGN §3).
type readyRelay struct {
	Address   string `json:"address"`
	Transport string `json:"transport"`
	Session   string `json:"session"`
}

// readyFile keeps the file that says which sessions are up. Without a path it does nothing.
type readyFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	relays []readyRelay // guarded by mu
}

func (a *Agent) readyRelay(l *link) readyRelay {
	return readyRelay{Address: l.addr, Transport: l.Info().Transport, Session: l.ID()}
}

func (r *readyFile) add(line readyRelay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = append(r.relays, line)
	r.write()
}

func (r *readyFile) remove(session string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = slices.DeleteFunc(r.relays, func(l readyRelay) bool { return l.Session == session })
	r.write()
}

// write writes the file. mu is held.
func (r *readyFile) write() {
	if r.path == "" {
		return
	}
	relays := r.relays
	if relays == nil {
		relays = []readyRelay{}
	}
	if err := ready.Write(r.path, map[string]any{"relays": relays}); err != nil {
		r.log.Error("the ready file was not written", "file", r.path, "error", err.Error())
	}
}
