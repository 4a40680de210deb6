package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/route"
)

// known remembers in the data folder when each agent was last connected, so that a relay that has just started knows whose absence is
// an absence. It is a route.Known. Without a data folder it remembers for as long as it lives.
type known struct {
	db *bolt.DB // nil without a data folder

	mu    sync.Mutex // guards what follows
	seen  map[postern.AgentID]time.Time
	dirty map[postern.AgentID]time.Time // not yet on disk
	fresh chan struct{}                 // has one when an agent was never on disk: that is not to be lost by a crash
}

// dbName is the relay's record file in its data folder.
const dbName = "postern.db"

// dbTimeout bounds the wait for another process to let go of the file.
const dbTimeout = 2 * time.Second

func agentsBucket() []byte { return []byte("agents") }

// openKnown opens the records of the data folder, which nobody else may have open.
func openKnown(folder string) (*known, error) {
	k := &known{
		seen: make(map[postern.AgentID]time.Time), dirty: make(map[postern.AgentID]time.Time), fresh: make(chan struct{}, 1),
	}
	if folder == "" {
		return k, nil
	}
	path := filepath.Join(folder, dbName)
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: dbTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, postern.Errorf(postern.Conflict, postern.HopRelay, "another relay runs with the data folder %s", folder)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (move it away to start without its records)", path, err)
	}
	k.db = db
	if err := k.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), db.Close())
	}
	return k, nil
}

// load reads all agents and forgets those that have been away for too long.
func (k *known) load() error {
	return k.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(agentsBucket())
		if err != nil {
			return err
		}
		var old [][]byte
		err = b.ForEach(func(id, at []byte) error {
			if len(at) != 8 || time.Since(decodeTime(at)) > route.KnownFor {
				old = append(old, id)
				return nil
			}
			k.seen[postern.AgentID(id)] = decodeTime(at)
			return nil
		})
		for _, id := range old {
			err = errors.Join(err, b.Delete(id))
		}
		return err
	})
}

// LastSeen implements route.Known.
func (k *known) LastSeen(id postern.AgentID) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.seen[id]
	return at, ok && time.Since(at) < route.KnownFor
}

// Saw implements route.Known. It only notes; run writes.
func (k *known) Saw(id postern.AgentID, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, had := k.seen[id]
	k.seen[id] = at
	k.dirty[id] = at
	if had {
		return
	}
	select {
	case k.fresh <- struct{}{}:
	default: // run knows already
	}
}

// saveEvery is how much a crash may lose of when an agent was there; that it was there is written at once.
const saveEvery = time.Second

// run writes what is new until ctx ends. A disk that cannot be written costs memory across a restart and nothing else,
// so that is logged and tried again.
func (k *known) run(ctx context.Context, log *slog.Logger) error {
	if k.db == nil {
		return nil
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.fresh:
		}
		if err := k.save(); err != nil {
			log.Error("the records of agents were not written", "error", err.Error())
		}
	}
}

// save writes what is not yet on disk, in one transaction.
func (k *known) save() error {
	k.mu.Lock()
	dirty := k.dirty
	k.dirty = make(map[postern.AgentID]time.Time)
	k.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	err := k.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(agentsBucket())
		for id, at := range dirty {
			if err := b.Put([]byte(id), encodeTime(at)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		for id, at := range dirty {
			if _, newer := k.dirty[id]; !newer {
				k.dirty[id] = at
			}
		}
	}
	return err
}

// Close writes what is left and closes the file.
func (k *known) Close() error {
	if k.db == nil {
		return nil
	}
	return errors.Join(k.save(), k.db.Close())
}

func encodeTime(at time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(at.Unix())) }

func decodeTime(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0) }

var _ route.Known = (*known)(nil)
