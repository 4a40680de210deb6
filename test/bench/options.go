//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postern-dev/postern/test/bench/load"
	"github.com/postern-dev/postern/test/bench/peer"
)

// options are what the flags say.
type options struct {
	postern   string
	rounds    int
	warm      time.Duration
	window    time.Duration
	streams   int
	agents    int
	cases     []string // empty: all that fit the road
	peers     []string // empty: all that are installed
	reference string
	variants  []peer.Variant
	wan       bool
	losses    []float64 // shares
	controls  []string
	seed      uint64
	out       string
	result    string
	docs      string
}

// errHelp says that help was asked for and given.
var errHelp = errors.New("help was given")

// agentsCase is the one case that needs no tunnel but a relay with many agents.
const agentsCase = "agents"

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.postern, "postern", "bin/postern", "the `binary` to measure")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	f.DurationVar(&o.warm, "warm", 0, "how long a load runs before it is measured (default 400ms; over links 2s)")
	f.DurationVar(&o.window, "window", 0, "how long it is measured (default 2s; over links 5s)")
	f.IntVar(&o.streams, "streams", 2000, "idle streams whose memory is measured")
	f.IntVar(&o.agents, "agents", 1000, "idle agents whose memory is measured")
	cases := f.String("cases", "", "cases to run, with commas; none given: "+strings.Join(caseNames(), ",")+" (over links: "+strings.Join(wanCases(), ",")+")")
	peers := f.String("peers", "", "peers to measure, with commas; none given: all that are installed")
	f.StringVar(&o.reference, "reference", "haproxy-tls", "the `peer` that others are compared with")
	f.BoolVar(&o.wan, "wan", false, "over links of 40 ms and 400 Mbit/s instead of loopback; needs root")
	losses := f.String("loss", "0,0.1,1", "losses of the links in per cent, with commas")
	controls := f.String("congestion", "bbr,cubic", "congestion controls of TCP on the links, with commas")
	f.Uint64Var(&o.seed, "seed", 1, "of the order and of the links' losses")
	f.StringVar(&o.out, "out", "bin/bench", "`folder` for the results")
	f.StringVar(&o.result, "page", "", "measure nothing: write the page and charts of this `result`")
	f.StringVar(&o.docs, "docs", "docs", "`folder` for them")
	f.Func("variant", "a further way to run Postern, `'NAME=TRANSPORT relay:FLAG agent:FLAG ENV=VALUE'`; may be repeated", func(text string) error {
		v, err := peer.ParseVariant(text)
		o.variants = append(o.variants, v)
		return err
	})
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		}
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag; -help lists them", f.Arg(0))
	}
	o.setTimes()
	o.cases, o.peers, o.controls = list(*cases), list(*peers), list(*controls)
	for _, text := range list(*losses) {
		var loss float64
		if _, err := fmt.Sscanf(text, "%g", &loss); err != nil || loss < 0 || loss > 100 {
			return nil, fmt.Errorf("-loss: %q is no percentage", text)
		}
		o.losses = append(o.losses, loss/100)
	}
	return o, o.check()
}

// setTimes fills in what was not said. A connection takes its time to find out what a link carries.
func (o *options) setTimes() {
	warm, window := 400*time.Millisecond, 2*time.Second
	if o.wan {
		warm, window = 2*time.Second, 5*time.Second
	}
	if o.warm == 0 {
		o.warm = warm
	}
	if o.window == 0 {
		o.window = window
	}
}

func (o *options) check() error {
	for _, name := range o.cases {
		if !slices.Contains(caseNames(), name) {
			return fmt.Errorf("-cases: there is no case %q; there are %s", name, strings.Join(caseNames(), ", "))
		}
	}
	if o.rounds < 1 || o.window < 0 || o.warm < 0 || o.streams < 1 || o.agents < 2 {
		return errors.New("-rounds and -streams must be more than 0, -agents more than 1, -warm and -window not less than 0")
	}
	return nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func caseNames() []string {
	var names []string
	for _, c := range load.Cases() {
		names = append(names, c.Name)
	}
	return append(names, agentsCase)
}

// wanCases are what a link changes.
func wanCases() []string { return []string{"down1", "up1", "ping", "load4", "open1"} }
