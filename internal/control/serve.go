package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern"
)

// Listener is an open control socket. Its owner calls Serve or Close.
type Listener struct {
	net.Listener
	path string
	self os.FileInfo // of the socket as it was made
}

// Listen opens a socket at path for its owner alone (mode 0600). A socket that a dead relay left behind is replaced; one that
// somebody answers on is a Conflict.
func Listen(ctx context.Context, path string) (*Listener, error) {
	if err := makeRoom(ctx, path); err != nil {
		return nil, err
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	defer done()
	config := net.ListenConfig{Control: ownerOnly}
	ln, err := config.Listen(ctx, "unix", short)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	// Close must remove our socket only, and not by the short path, which ends here.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(path, 0o600)
	self, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		_ = ln.Close() // the error above tells more
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return &Listener{Listener: ln, path: path, self: self}, nil
}

// Close closes the socket and removes it, unless another one stands in its place by now.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.self) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

// grace is how long requests may go on when ctx has ended: they are all short.
const grace = 2 * time.Second

// Serve answers until ctx ends and closes l, and returns when every handler has returned. A cancelled ctx is no error.
func (l *Listener) Serve(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler:           http.MaxBytesHandler(handler, maxBody),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	group, stop := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("control socket: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-stop.Done()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := server.Shutdown(limit); err != nil {
			return server.Close()
		}
		return nil
	})
	return group.Wait()
}

// makeRoom removes a socket that nobody listens on any more.
func makeRoom(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open the control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("open the control socket: %s is in its place and is no socket", path)
	}
	conn, err := dial(ctx, path)
	if err == nil {
		_ = conn.Close() // nothing was written
		return postern.Errorf(postern.Conflict, postern.HopRelay, "another relay runs with this data folder: it answers on %s", path)
	}
	if !errors.Is(err, ErrNoRelay) {
		return err
	}
	return os.Remove(path)
}

// Handler answers what commands ask of r.
func Handler(r Relay) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathAgents, func(w http.ResponseWriter, req *http.Request) {
		agents, err := r.Agents(req.Context())
		if agents == nil {
			agents = []Agent{}
		}
		answer(w, Agents{agents}, err)
	})
	mux.HandleFunc("POST "+PathJoin, func(w http.ResponseWriter, req *http.Request) {
		var ask JoinRequest
		decoder := json.NewDecoder(req.Body)
		// A restriction that this relay does not know must not be left out in silence.
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&ask); err != nil {
			answer(w, nil, postern.Errorf(postern.BadCommand, postern.HopRelay, "the relay does not understand the request: %w", err))
			return
		}
		made, err := r.Join(req.Context(), ask)
		answer(w, made, err)
	})
	return mux
}

func answer(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		kind := postern.KindOf(err)
		f := failure{Kind: uint8(kind), Hop: string(postern.HopRelay), Detail: kind.Sentence()}
		if e, ok := errors.AsType[*postern.Error](err); ok {
			f.Hop = string(e.Hop)
			if e.Detail != "" {
				f.Detail = e.Detail
			}
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		body = f
	}
	// The command has gone away if this fails; nobody is left to be told.
	_ = json.NewEncoder(w).Encode(body)
}
