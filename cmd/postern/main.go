// Command postern is the small door in a castle wall that only opens from the inside: a relay, agents that dial out to it, and the
// commands of those who come in.
//
//	postern relay --data /var/lib/postern
//	postern agent --join STRING
//	postern connect nas 127.0.0.1:22
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/postern-dev/postern/cli"
)

func main() {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// A reader of our output that goes away is an error of that write, not the end of a relay.
	signal.Ignore(syscall.SIGPIPE)
	go watch(signals, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// watch makes the first signal end ctx, so that streams may finish, and the second end the process at once. A second SIGTERM is a
// supervisor that does not want to wait for them: it gets what it asked for, so that is a success.
func watch(signals <-chan os.Signal, stop context.CancelCauseFunc) {
	stop(cli.Stopped{Code: code(<-signals)})
	if second := <-signals; second != syscall.SIGTERM {
		os.Exit(code(second))
	}
	os.Exit(0)
}

// code is what a shell expects of a program that a signal has ended: 130 or 143.
func code(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return 1
}
