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

func readyLine(l *link) readyRelay {
	return readyRelay{Address: l.addr, Transport: l.transport(), Session: l.ID()}
}

// add adds a session, in place of another if that is there.
func (r *readyFile) add(line readyRelay, inPlaceOf string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(inPlaceOf)
	r.relays = append(r.relays, line)
	r.write()
}

func (r *readyFile) remove(session string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drop(session) {
		r.write()
	}
}

// drop reports whether there was such a session. mu is held.
func (r *readyFile) drop(session string) bool {
	before := len(r.relays)
	r.relays = slices.DeleteFunc(r.relays, func(l readyRelay) bool { return l.Session == session })
	return len(r.relays) < before
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
