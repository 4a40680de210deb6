package session

import (
	"context"
	"sync"
	"time"

	"github.com/postern-dev/postern/transport"
)

// look is how often Ping looks for signs of life.
const look = 25 * time.Millisecond

// Ping asks the far end for a sign of life. It returns nil as soon as anything at all arrives: on a road full of other bytes the
// answer itself may be long in coming. Otherwise it returns an error when ctx ends, or, if the road takes no more bytes,
// some seconds later. The session is not ended by that.
func (s *Session) Ping(ctx context.Context) error {
	witness, counts := s.conn.(transport.Witness)
	var before uint64
	if counts {
		before = witness.Signs()
	}
	answered := make(chan error, 1)
	var asker sync.WaitGroup
	defer asker.Wait()
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	asker.Go(func() {
		_, err := s.request(asking, &control{Type: ctlPing})
		answered <- err
	})
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case err := <-answered:
			return err
		case <-tick.C:
			if counts && witness.Signs() != before {
				return nil
			}
		}
	}
}
