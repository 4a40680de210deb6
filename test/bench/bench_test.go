//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-dev/postern/test/bench/report"
	"github.com/postern-dev/postern/test/rig"
)

// TestMain is also what the benchmark starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "hop" || os.Args[1] == "agents") {
		main()
		return
	}
	os.Exit(rig.Main(m))
}

// run runs the benchmark with windows in which nothing can be measured.
func run(t *testing.T, args ...string) (*report.Run, string) {
	t.Helper()
	dir := t.TempDir()
	var stdout, stderr strings.Builder
	args = append([]string{
		"-postern", rig.Binary(t), "-out", dir, "-rounds", "1", "-warm", "50ms", "-window", "300ms", "-streams", "20", "-agents", "8",
	}, args...)
	if err := command(t.Context(), args, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	results, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(results) != 1 {
		t.Fatalf("the results are %v, %v", results, err)
	}
	f, err := os.Open(results[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := report.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Samples {
		if s.Error != "" {
			t.Errorf("%s, %s, %s: %s", s.Road, s.Case, s.Peer, s.Error)
		}
	}
	return r, results[0]
}

// TestSmoke runs every case once with Postern and a bound, and writes the page.
func TestSmoke(t *testing.T) {
	r, result := run(t, "-peers", "postern-tls,hops-tls", "-reference", "hops-tls")
	if want := 12*2 + 1; len(r.Samples) != want {
		t.Errorf("there are %d samples, want %d", len(r.Samples), want)
	}
	for _, m := range report.Metrics() {
		if m.Case != agentsCase && r.Figure(report.Loopback, m, "hops-tls").Rounds == 0 {
			t.Errorf("%s was not measured", m.Name())
		}
	}
	docs := t.TempDir()
	if err := command(t.Context(), []string{"-page", result, "-docs", docs}, os.Stdout, os.Stderr); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	if err != nil || !strings.Contains(string(page), "performance/throughput.svg") {
		t.Errorf("the page does not show its charts: %v", err)
	}
	if charts, err := os.ReadDir(filepath.Join(docs, chartFolder)); err != nil || len(charts) != 5 {
		t.Errorf("there are %d charts: %v", len(charts), err)
	}
}

// TestOverALink is the same over one link.
func TestOverALink(t *testing.T) {
	r, _ := run(t, "-wan", "-loss", "0", "-congestion", "reno", "-cases", "down1,ping,open1", "-peers", "postern-tls,hops-tls", "-reference", "hops-tls")
	road := "40 ms, 400 Mbit/s, 0 % loss, reno"
	if !slices.Equal(r.Roads, []string{road}) {
		t.Errorf("the roads are %q", r.Roads)
	}
	if p50 := r.Figure(road, report.Metric{Case: "ping", Key: "p50"}, "postern-tls").Median; p50 < 40_000 || p50 > 80_000 {
		t.Errorf("a ping over 40 ms takes %v us", p50)
	}
}

func TestMisuseIsExplained(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-cases", "nothing"}, "down1"},
		{[]string{"-peers", "nobody", "-postern", rig.Binary(t)}, "haproxy-tls"},
		{[]string{"-postern", "nowhere"}, "make build"},
		{[]string{"-loss", "many"}, "percentage"},
		{[]string{"-rounds", "0"}, "-rounds"},
		{[]string{"-variant", "x"}, "NAME=TRANSPORT"},
		{[]string{"something"}, "-help"},
		{[]string{"-page", "nowhere.json"}, "nowhere.json"},
		{[]string{"hop"}, "LISTEN"},
		{[]string{"agents"}, "RELAY"},
	} {
		var out strings.Builder
		if err := command(t.Context(), c.args, &out, &out); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, which does not say %q", c.args, err, c.says)
		}
	}
	var out strings.Builder
	if err := command(t.Context(), []string{"-help"}, &out, &out); err != nil || !strings.Contains(out.String(), "-rounds") {
		t.Errorf("-help: %v, %s", err, out.String())
	}
	if _, err := parse([]string{"-help"}, &out); !errors.Is(err, errHelp) {
		t.Errorf("-help: %v", err)
	}
}
