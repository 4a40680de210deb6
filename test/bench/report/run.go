//go:build linux

// Package report keeps what the benchmark has measured and tells it: as JSON, as a table of ratios, as a page with charts.
//
//	run, err := report.Read(file)
//	fmt.Print(run.Table())
//	err = run.Page(w, report.Charts(run))
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postern-dev/postern/test/bench/usage"
)

// Loopback is the road between two processes of one machine.
const Loopback = "loopback"

// Direct is the peer that is no tunnel: the limit of the load generator. Charts leave it out.
const Direct = "direct"

// Kind is what a peer is, for those who look at a chart.
type Kind string

// The kinds of peers.
const (
	Postern Kind = "postern"
	Bound   Kind = "bound" // no tunnel: what could be reached
	Other   Kind = "other"
)

// Peer is a tunnel that was measured.
type Peer struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
	Kind    Kind   `json:"kind"`
}

// Settings are how it was measured.
type Settings struct {
	Rounds  int           `json:"rounds"`
	Warm    time.Duration `json:"warm_ns"`
	Window  time.Duration `json:"window_ns"`
	Streams int           `json:"idle_streams"`
	Agents  int           `json:"idle_agents"`
	Seed    uint64        `json:"seed"`
}

// Sample is what one case measured of one peer in one round.
type Sample struct {
	Road   string             `json:"road"`
	Round  int                `json:"round"`
	Case   string             `json:"case"`
	Peer   string             `json:"peer"`
	Values map[string]float64 `json:"values,omitempty"`
	Error  string             `json:"error,omitempty"`
}

// Run is a whole run.
type Run struct {
	Began     time.Time     `json:"began"`
	Ended     time.Time     `json:"ended"`
	Machine   usage.Machine `json:"machine"`
	Settings  Settings      `json:"settings"`
	Reference string        `json:"reference"` // the peer that the others are compared with
	Peers     []Peer        `json:"peers"`
	Roads     []string      `json:"roads"`
	Samples   []Sample      `json:"samples"`
}

// Read reads a run that Write has written.
func Read(r io.Reader) (*Run, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var run Run
	if err := dec.Decode(&run); err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	return &run, nil
}

// Write writes a run as JSON.
func (r *Run) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// values are the figures of a peer by round.
func (r *Run) values(road string, m Metric, peer string) map[int]float64 {
	byRound := make(map[int]float64)
	for _, s := range r.Samples {
		if v, ok := s.Values[m.Key]; ok && s.Road == road && s.Case == m.Case && s.Peer == peer {
			byRound[s.Round] = v
		}
	}
	return byRound
}

// Figure is what all rounds together say.
type Figure struct {
	Median, Least, Most float64
	Rounds              int // how many said something; 0: there is no figure
}

func figure(values map[int]float64) Figure {
	if len(values) == 0 {
		return Figure{}
	}
	var all []float64
	for _, v := range values {
		all = append(all, v)
	}
	slices.Sort(all)
	return Figure{Median: median(all), Least: all[0], Most: all[len(all)-1], Rounds: len(all)}
}

// median of sorted numbers.
func median(all []float64) float64 {
	n := len(all)
	if n%2 == 1 {
		return all[n/2]
	}
	return (all[n/2-1] + all[n/2]) / 2
}

// Figure returns a metric of a peer.
func (r *Run) Figure(road string, m Metric, peer string) Figure {
	return figure(r.values(road, m, peer))
}

// Ratio returns how a peer compares with the reference: the ratio is taken in each round, where both had the machine in the same
// state, and its median over the rounds.
func (r *Run) Ratio(road string, m Metric, peer string) Figure {
	own, other := r.values(road, m, peer), r.values(road, m, r.Reference)
	ratios := make(map[int]float64)
	for round, v := range own {
		if of := other[round]; of > 0 {
			ratios[round] = v / of
		}
	}
	return figure(ratios)
}

// failures are the errors of a case, by peer, each once.
func (r *Run) failures(road, name string) []string {
	var lines []string
	for _, p := range r.Peers {
		failed, rounds := 0, 0
		var errs []string
		for _, s := range r.Samples {
			if s.Road != road || s.Case != name || s.Peer != p.Name {
				continue
			}
			rounds++
			if s.Error != "" {
				failed++
				errs = append(errs, s.Error)
			}
		}
		if failed > 0 {
			slices.Sort(errs)
			lines = append(lines, fmt.Sprintf("%s: %d of %d: %s", p.Name, failed, rounds, strings.Join(slices.Compact(errs), "; ")))
		}
	}
	return lines
}

// others is the largest share of the machine that went to processes which do not belong to the benchmark, as the median of a
// case: what makes a run a quiet one or not.
func (r *Run) others() float64 {
	byCase := make(map[string][]float64)
	for _, s := range r.Samples {
		if v, ok := s.Values["others"]; ok {
			byCase[s.Road+s.Case] = append(byCase[s.Road+s.Case], v)
		}
	}
	most := 0.0
	for _, all := range byCase {
		slices.Sort(all)
		most = max(most, median(all))
	}
	return most
}

// overrun is how many samples were taken while the link emulator lost packets because the machine was too busy.
func (r *Run) overrun() int {
	n := 0
	for _, s := range r.Samples {
		if s.Values["overruns"] > 0 {
			n++
		}
	}
	return n
}
