package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/splice"
)

// Connect opens a stream to the target through the agent and copies stdin to it and it to stdout, as the ProxyCommand of
// ssh does. The end of stdin is passed on and the answer still read to its end; the end of the answer closes stdout (if
// it is an io.Closer) and ends Connect, even if stdin has more to come.
//
// It returns nil if the target ended the stream cleanly; the error of Open; an error of kind Aborted, or of the kind
// given by the far end, if the stream was broken off; and an error if stdin cannot be read or stdout not be
// written. It owns stdin and stdout from then on, and when it returns nothing reads or writes them (file_other.go
// names the one exception). A program whose stdout is a pipe ignores SIGPIPE, or dies of it before Connect can tell the far end.
func Connect(ctx context.Context, opener postern.Opener, agent postern.AgentID, target postern.Target, stdin io.Reader, stdout io.Writer) error {
	stream, err := opener.Open(ctx, &postern.Request{Agent: agent, Target: target, Trace: ingress.NewTrace()})
	if err != nil {
		return fmt.Errorf("connecting to %s through %s: %w", target, agent, err)
	}
	std, err := newStdio(stdin, stdout)
	if err != nil {
		stream.Abort(postern.Internal)
		return errors.Join(err, stream.Close())
	}
	far := &answering{Stream: stream}
	result := splice.Join(ctx, std, far, splice.Options{})
	switch {
	case ctx.Err() != nil && result.Reason == splice.Cancelled:
		return context.Cause(ctx)
	case result.Reason == splice.BStopped && far.ended:
		// The target took no more than it needed and said all it had to say.
		return nil
	case result.Err != nil:
		return fmt.Errorf("the connection to %s through %s broke off: %w", target, agent, broken(result.Err))
	}
	return nil
}

// broken gives a kind to an error that has none, such as a reset.
func broken(err error) error {
	if postern.KindOf(err) != postern.Internal {
		return err
	}
	return postern.Errorf(postern.Aborted, postern.HopTarget, "%w", err)
}

// lastWords is how long the far end may take to read what it was sent before it said that it has nothing more to say. A
// target that answers without reading must not hold the program for ever.
const lastWords = 2 * time.Second

// answering is the far end's stream. It notes when the answer has ended, and gives what is still being written a last chance.
type answering struct {
	postern.Stream
	ended bool // written by the copy that reads; read when it is over
}

// Read reads the answer.
func (a *answering) Read(p []byte) (int, error) {
	n, err := a.Stream.Read(p)
	if err == io.EOF && !a.ended {
		a.ended = true
		// A stream that cannot set it is over already.
		_ = a.SetWriteDeadline(time.Now().Add(lastWords))
	}
	return n, err
}
