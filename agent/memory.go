package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/postern-dev/postern/internal/safefile"
)

// memoryFile is the file in the data folder that says what has worked in which network.
const memoryFile = "networks.json"

// maxRemembered is how many relays in how many networks are remembered: a traveller's year.
const maxRemembered = 64

// memory knows which relay was reached over which transport, in each network. Its methods may be called concurrently.
type memory struct {
	path string // empty: it lasts as long as the process
	log  *slog.Logger

	mu      sync.Mutex
	known   []remembered // guarded by mu, like unsaved; the latest first
	unsaved bool         // the file does not have all of known
}

// remembered is one entry, as it stands in the file.
type remembered struct {
	Network   string    `json:"network"`
	Relay     string    `json:"relay"`
	Transport string    `json:"transport"`
	At        time.Time `json:"at"`
}

func newMemory(folder string, log *slog.Logger) *memory {
	m := &memory{log: log}
	if folder != "" {
		m.path = filepath.Join(folder, memoryFile)
	}
	return m
}

// transport is what the relay at addr was reached over in the network the last time; empty if it was not.
func (m *memory) transport(network, addr string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	if i := m.find(network, addr); i >= 0 {
		return m.known[i].Transport
	}
	return ""
}

// relay is the one of addrs that worked last in the network; empty if none has.
func (m *memory) relay(network string, addrs []string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	for _, r := range m.known {
		if r.Network == network && slices.Contains(addrs, r.Relay) {
			return r.Relay
		}
	}
	return ""
}

// worked remembers a session. The file is written only if that is news.
func (m *memory) worked(network, addr, transport string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load()
	i := m.find(network, addr)
	news := remembered{network, addr, transport, time.Now().UTC().Truncate(time.Second)}
	if i == 0 && m.known[0].Transport == transport {
		return
	}
	if i >= 0 {
		m.known = slices.Delete(m.known, i, i+1)
	}
	m.known = slices.Insert(m.known, 0, news)
	m.known = m.known[:min(len(m.known), maxRemembered)]
	m.save()
}

func (m *memory) find(network, addr string) int {
	return slices.IndexFunc(m.known, func(r remembered) bool { return r.Network == network && r.Relay == addr })
}

// load reads the file, which other agents may have written to meanwhile. It is but a hint, so one that cannot be read is passed over.
// mu is held.
func (m *memory) load() {
	if m.path == "" || m.unsaved {
		return
	}
	text, err := safefile.Read(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var known []remembered
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		m.log.Warn("what worked in which network cannot be read", "file", m.path, "error", err.Error())
		return
	}
	m.known = known[:min(len(known), maxRemembered)]
}

// save writes the file. mu is held.
func (m *memory) save() {
	if m.path == "" {
		return
	}
	text, err := json.MarshalIndent(m.known, "", "\t")
	if err == nil {
		err = safefile.Dir(filepath.Dir(m.path))
	}
	if err == nil {
		err = safefile.Replace(m.path, append(text, '\n'), 0o600)
	}
	if m.unsaved = err != nil; m.unsaved {
		m.log.Warn("what works in this network is not remembered", "file", m.path, "error", err.Error())
	}
}
