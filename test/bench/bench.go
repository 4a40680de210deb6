//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-dev/postern/test/bench/load"
	"github.com/postern-dev/postern/test/bench/peer"
	"github.com/postern-dev/postern/test/bench/report"
	"github.com/postern-dev/postern/test/bench/usage"
)

func joined(errs ...error) error { return errors.Join(errs...) }

// bench measures everything that the options ask for, and prints and writes the result. What was measured before it was interrupted is
// not lost.
func bench(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	peers, err := find(o, stderr)
	if err != nil {
		return err
	}
	run := &report.Run{
		Began: time.Now(), Machine: usage.ThisMachine(), Reference: o.reference, Roads: roadNames(o),
		Settings: report.Settings{Rounds: o.rounds, Warm: o.warm, Window: o.window, Streams: o.streams, Agents: o.agents, Seed: o.seed},
	}
	for _, p := range peers {
		run.Peers = append(run.Peers, p.Peer)
	}
	s := &session{
		o: o, run: run, peers: peers, random: rand.New(rand.NewPCG(o.seed, 2)),
		file: filepath.Join(o.out, run.Began.UTC().Format("20060102-150405")),
	}
	s.progress = newProgress(stderr, s.total())
	measured := s.all(ctx)
	s.progress.clear()
	if len(run.Samples) == 0 {
		return joined(measured, errors.New("nothing was measured"))
	}
	if _, err := fmt.Fprintf(stdout, "%s\n%s.json and .md have everything\n", run.Table(), s.file); err != nil {
		return joined(measured, err)
	}
	return joined(measured, s.save())
}

// find returns the peers that were asked for and are there.
func find(o *options, stderr io.Writer) ([]peer.Peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	postern, err := filepath.Abs(o.postern)
	if err != nil {
		return nil, err
	}
	all := peer.All(peer.Options{Postern: postern, Self: self, Variants: o.variants})
	var names []string
	var found []peer.Peer
	missing := make(map[string][]string) // names by reason
	for _, p := range all {
		names = append(names, p.Name)
		if len(o.peers) > 0 && !slices.Contains(o.peers, p.Name) {
			continue
		}
		if p.Version, err = p.Find(); err != nil {
			if slices.Contains(o.peers, p.Name) || p.Kind == report.Postern {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			missing[err.Error()] = append(missing[err.Error()], p.Name)
			continue
		}
		found = append(found, p)
	}
	for _, name := range o.peers {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("-peers: there is no peer %q; there are %v", name, names)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(stderr, "without %s: %s\n", strings.Join(missing[reason], ", "), reason)
	}
	if !slices.ContainsFunc(found, func(p peer.Peer) bool { return p.Name == o.reference }) {
		fmt.Fprintf(stderr, "%s is not among them: figures are shown in place of ratios\n", o.reference)
	}
	return found, nil
}

// session is one run under way.
type session struct {
	o        *options
	run      *report.Run
	peers    []peer.Peer
	random   *rand.Rand
	progress *progress
	file     string // of the result, without its ending
}

// cases are those of the run; agents is whether the case of idle agents is among them.
func (s *session) cases() (cases []load.Case, agents bool) {
	for _, c := range load.Cases() {
		if s.wanted(c.Name) {
			cases = append(cases, c)
		}
	}
	return cases, !s.o.wan && s.wanted(agentsCase)
}

func (s *session) wanted(name string) bool {
	if len(s.o.cases) > 0 {
		return slices.Contains(s.o.cases, name)
	}
	return !s.o.wan || slices.Contains(wanCases(), name)
}

// total is how many measurements the run has.
func (s *session) total() int {
	cases, agents := s.cases()
	n := len(cases) * len(s.peers)
	for _, p := range s.peers {
		if agents && p.Agents != nil {
			n++
		}
	}
	return n * s.o.rounds * len(s.run.Roads)
}

// all goes every road.
func (s *session) all(ctx context.Context) error {
	makers := roads(s.o)
	for _, name := range s.run.Roads {
		r, err := makers[name](ctx)
		if err != nil {
			return err
		}
		for round := range s.o.rounds {
			if err = s.round(ctx, r, round); err != nil {
				break
			}
			if err = s.save(); err != nil {
				break
			}
		}
		if err := joined(err, r.close()); err != nil {
			return err
		}
	}
	return nil
}

// save writes what there is so far.
func (s *session) save() error {
	s.run.Ended = time.Now()
	if err := os.MkdirAll(s.o.out, 0o755); err != nil {
		return err
	}
	return joined(writeFile(s.file+".json", s.run.Write), writeFile(s.file+".md", func(w io.Writer) error { return s.run.Page(w, nil) }))
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return joined(write(f), f.Close())
}
