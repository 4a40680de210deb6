//go:build linux

package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// run is a small run: three rounds of two cases with three peers, one of which fails once and is slow on a busy machine like the rest.
func run() *Run {
	r := &Run{
		Began: time.Unix(1_800_000_000, 0).UTC(), Ended: time.Unix(1_800_000_090, 0).UTC(), Reference: "haproxy-tls", Roads: []string{Loopback, "a <link>"},
		Settings: Settings{Rounds: 3, Window: time.Second, Streams: 10, Agents: 10},
		Peers: []Peer{
			{Name: "postern-tls", About: "Postern | tls", Version: "1", Kind: Postern},
			{Name: "haproxy-tls", Kind: Bound},
			{Name: "ssh", Kind: Other},
		},
	}
	r.Machine.CPU, r.Machine.CPUs = "a processor", 2
	add := func(road string, round int, name, peer string, values map[string]float64, err string) {
		r.Samples = append(r.Samples, Sample{Road: road, Round: round, Case: name, Peer: peer, Values: values, Error: err})
	}
	for round, busy := range []float64{1, 2, 4} {
		add(Loopback, round, "down1", "haproxy-tls", map[string]float64{"speed": 800 / busy, "cpu": 1.5, "others": 0.01}, "")
		add(Loopback, round, "down1", "postern-tls", map[string]float64{"speed": 1000 / busy, "cpu": 1.2, "others": 0.02}, "")
		add(Loopback, round, "agents", "postern-tls", map[string]float64{"memory_relay": 30}, "")
	}
	add(Loopback, 0, "down1", "ssh", map[string]float64{"speed": 400, "cpu": 3}, "")
	add(Loopback, 1, "down1", "ssh", nil, "stuck")
	add("a <link>", 0, "down1", "postern-tls", map[string]float64{"speed": 40}, "")
	return r
}

func TestFiguresAndRatios(t *testing.T) {
	r := run()
	speed := Metric{Case: "down1", Key: "speed", Higher: true}
	for peer, want := range map[string][2]Figure{
		"haproxy-tls": {{400, 200, 800, 3}, {1, 1, 1, 3}},
		"postern-tls": {{500, 250, 1000, 3}, {1.25, 1.25, 1.25, 3}},
		"ssh":         {{400, 400, 400, 1}, {0.5, 0.5, 0.5, 1}}, // of the round in which the reference had 800
		"nobody":      {},
	} {
		if got := r.Figure(Loopback, speed, peer); got != want[0] {
			t.Errorf("%s has %+v, want %+v", peer, got, want[0])
		}
		if got := r.Ratio(Loopback, speed, peer); got != want[1] {
			t.Errorf("the ratio of %s is %+v, want %+v", peer, got, want[1])
		}
	}
	if got := median([]float64{1, 2, 4, 100}); got != 3 {
		t.Errorf("the median of four is %v", got)
	}
}

func TestTable(t *testing.T) {
	want := `loopback; medians of up to 3 rounds; 1.00x is as much as haproxy-tls in the same round

                                              unit   haproxy-tls  postern-tls    ssh
download, 1 stream ↑                          MB/s           400        1.25x  0.50x
download, 1 stream: CPU of relay and agent ↓  s/GiB         1.50        0.80x  2.00x
memory of an idle agent, relay ↓              KiB              -         30.0      -
failed in down1: ssh: 1 of 2: stuck

a <link>; medians of up to 3 rounds; 1.00x is as much as haproxy-tls in the same round

                      unit  haproxy-tls  postern-tls  ssh
download, 1 stream ↑  MB/s            -         40.0    -

A quiet run: in no case other processes took more than 2 % of the machine.
`
	if diff := cmp.Diff(want, run().Table()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestARunThatWasNotQuietSaysSo(t *testing.T) {
	r := run()
	for i := range r.Samples {
		if r.Samples[i].Values != nil {
			r.Samples[i].Values["others"] = 0.4
		}
	}
	r.Samples[0].Values["overruns"] = 3
	for _, says := range []string{"Not a quiet run", "40 %", "In 1 samples"} {
		if !strings.Contains(r.Table(), says) {
			t.Errorf("the table does not say %q", says)
		}
	}
}

func TestWithoutReferenceFiguresAreShown(t *testing.T) {
	r := run()
	r.Reference = "nobody"
	if table := r.Table(); strings.Contains(table, "0x") || !strings.Contains(table, "500") {
		t.Error(table)
	}
}

func TestWrittenAndRead(t *testing.T) {
	var b bytes.Buffer
	if err := run().Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if diff := cmp.Diff(run(), got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := Read(strings.NewReader(`{"unknown": 1}`)); err == nil {
		t.Error("a file of another kind is taken for a result")
	}
}

func TestPage(t *testing.T) {
	var b strings.Builder
	if err := run().Page(&b, []Image{{File: "performance/cpu.svg", Title: "CPU"}}); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"Run of 2027-01-15 08:00 UTC, 1m30s long.", "| processor | a processor, 2 |", "![CPU](performance/cpu.svg)", `Postern \| tls`,
		"| download, 1 stream ↑ | MB/s | 400 | 1.25x | 0.50x |", "## A <link>", "| download, 1 stream ↑ MB/s | postern-tls | 500 | 250 | 1000 | 1.25x | 3 |",
		"- failed: ssh: 1 of 2: stuck",
	} {
		if !strings.Contains(b.String(), says) {
			t.Errorf("the page does not say %q", says)
		}
	}
}

// TestChartsAreSVG parses the images, and looks that every peer has its bar.
func TestChartsAreSVG(t *testing.T) {
	charts := Charts(run())
	names := make(map[string]bool)
	for _, c := range charts {
		names[c.Name] = true
		var b strings.Builder
		if err := c.Draw(&b); err != nil {
			t.Fatal(err)
		}
		bars := 0
		for dec := xml.NewDecoder(strings.NewReader(b.String())); ; {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.Name, err, b.String())
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" && e.Attr[0].Value != "page" {
				bars++
			}
		}
		want := 0
		for _, p := range c.Panels {
			want += len(p.Bars)
		}
		if bars != want || want == 0 {
			t.Errorf("%s has %d bars, want %d", c.Name, bars, want)
		}
		if !strings.Contains(b.String(), "prefers-color-scheme: dark") {
			t.Errorf("%s has no dark form", c.Name)
		}
	}
	if diff := cmp.Diff(map[string]bool{"throughput": true, "cpu": true, "memory": true, "link": true}, names); diff != "" {
		t.Errorf("charts (-want +got):\n%s", diff)
	}
	if bars := charts[0].Panels[0].Bars; bars[0].Label != "postern-tls" {
		t.Errorf("the best is not first: %+v", bars)
	}
}

func TestABarThatIsTooLongIsCut(t *testing.T) {
	p := Panel{Bars: []Bar{{"a", 1, Other}, {"b", 2, Other}, {"c", 1000, Other}}}
	if got := p.scale(); got != 10 {
		t.Errorf("the width is %v, want five times the median", got)
	}
	var b strings.Builder
	p.draw(&b, 0)
	if !strings.Contains(b.String(), "→ 1000") {
		t.Error(b.String())
	}
}

func TestMetricsHaveNamesOfTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range Metrics() {
		if seen[m.Name()] || m.Title == "" {
			t.Errorf("the metric %q is there twice, or has no title", m.Name())
		}
		seen[m.Name()] = true
	}
}
