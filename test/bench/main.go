//go:build linux

// Command bench measures Postern beside other tunnels, on loopback and over emulated links, and prints a table of ratios.
//
//	make bench                                      everything that is installed, three rounds
//	make bench ARGS='-cases down1,ping -rounds 5'
//	make bench ARGS='-wan'                          over links with 40 ms and losses, as root
//	make bench-page RESULT=bin/bench/FILE.json      docs/performance.md and its charts from a result
//
// test/bench/load has the cases, test/bench/peer the tunnels, test/bench/report what is made of the figures.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/postern-dev/postern/test/bench/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// command does what the arguments say. The first two are what the benchmark starts of itself.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "hop":
			return peer.Hop(ctx, stdout, args[1:])
		case "agents":
			return peer.ManyAgents(ctx, stdout, args[1:])
		}
	}
	o, err := parse(args, stderr)
	if errors.Is(err, errHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.result != "" {
		return writePage(o.result, o.docs)
	}
	return bench(ctx, o, stdout, stderr)
}
