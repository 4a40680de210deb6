//go:build linux

package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Image is a chart beside the page that shows it.
type Image struct {
	File, Title string
}

// Page writes the run as Markdown, with images if there are any.
func (r *Run) Page(w io.Writer, images []Image) error {
	var b strings.Builder
	b.WriteString("# Performance\n\n")
	b.WriteString("Written by `make bench-page` from the result of one run of `make bench`; do not edit.\n\n")
	r.where(&b)
	for _, image := range images {
		fmt.Fprintf(&b, "![%s](%s)\n\n", image.Title, image.File)
	}
	for _, road := range r.Roads {
		if rows := r.ratios(road); len(rows) > 1 {
			fmt.Fprintf(&b, "## %s\n\n", capital(road))
			fmt.Fprintf(&b, "%s. ↑ more is better, ↓ less is better.\n\n", capital(r.legend()))
			markdown(&b, rows)
		}
	}
	r.who(&b)
	b.WriteString(method)
	for _, road := range r.Roads {
		r.details(&b, road)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// where says when, where and how.
func (r *Run) where(b *strings.Builder) {
	m, s := r.Machine, r.Settings
	fmt.Fprintf(b, "Run of %s, %v long. %s\n\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Ended.Sub(r.Began).Round(time.Second), r.quietness())
	markdown(b, [][]string{
		{"machine", ""},
		{"processor", fmt.Sprintf("%s, %d", m.CPU, m.CPUs)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(m.MemoryMiB)/1024)},
		{"system", m.System + ", " + m.Kernel},
		{"Go of the bounds and the load generator", m.Go},
		{"TCP's congestion control", m.Congestion},
		{"load when it began", m.Load},
		{"measured", fmt.Sprintf("%d rounds; %v each after %v to warm up; %d idle streams, %d idle agents", s.Rounds, s.Window, s.Warm, s.Streams, s.Agents)},
	})
}

// who lists the peers with their versions.
func (r *Run) who(b *strings.Builder) {
	b.WriteString("## Who was measured\n\n")
	rows := [][]string{{"name", "what it is", "version"}}
	for _, p := range r.Peers {
		rows = append(rows, []string{p.Name, p.About, p.Version})
	}
	markdown(b, rows)
}

// method is what a reader has to know to judge the figures.
const method = `## How it was measured

- Relay and agent are two processes, the load generator and the target a third that is both; on loopback all share the processors, so that
  speeds are what is left when everything competes. CPU time is read from the processes' own clocks, to the nanosecond.
- Rounds are interleaved: in each, every case runs with every peer, in an order that is shuffled anew. A ratio is taken inside a
  round, and the median over rounds is shown.
- Clients connect to a public port of the relay (` + "`postern expose tcp`" + `, and what the others have in its place). reverse-http has none: there
  every open has a CONNECT in it.
- Every transfer is checked: both ends of each read, and all of one read in sixteen.
- Memory is the resident memory of the processes before and after; what the kernel holds for sockets is not in it.
- The pairs haproxy-tls, hops-plain and hops-tls are no reverse tunnels: their relay dials the agent, one connection for each client, and
  nobody has to prove who he is. They are yardsticks.
- Over a link, relay and clients are in one network namespace, agent and target in another, and an emulator between them (` + "`test/fault/link`" + `)
  delays, limits and loses packets. TCP's congestion control is that of the route, whatever a program asks for.

To repeat it: ` + "`make bench`" + `, on a machine that has nothing else to do.

`

// details is every metric of every peer on a road.
func (r *Run) details(b *strings.Builder, road string) {
	for _, name := range r.cases(road) {
		var rows [][]string
		for _, m := range r.measured(road, true) {
			if m.Case == name {
				rows = append(rows, r.detail(road, m)...)
			}
		}
		failed := r.failures(road, name)
		if len(rows)+len(failed) == 0 {
			continue
		}
		fmt.Fprintf(b, "### %s, %s\n\n", capital(road), name)
		if len(rows) > 0 {
			markdown(b, append([][]string{{"", "peer", "median", "least", "most", "ratio", "rounds"}}, rows...))
		}
		for _, line := range failed {
			fmt.Fprintf(b, "- failed: %s\n", line)
		}
		if len(failed) > 0 {
			b.WriteByte('\n')
		}
	}
}

func (r *Run) detail(road string, m Metric) [][]string {
	var rows [][]string
	title := strings.TrimSpace(m.Title + " " + arrow(m) + " " + m.Unit)
	for _, p := range r.Peers {
		f := r.Figure(road, m, p.Name)
		if f.Rounds == 0 {
			continue
		}
		rows = append(rows, []string{title, p.Name, digits(f.Median), digits(f.Least), digits(f.Most), ratio(r.Ratio(road, m, p.Name)), fmt.Sprint(f.Rounds)})
		title = ""
	}
	return rows
}

// markdown writes a table; the first row is its head.
func markdown(b *strings.Builder, rows [][]string) {
	line := func(cells []string) {
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(rows[0])
	rule := make([]string, len(rows[0]))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for _, row := range rows[1:] {
		line(row)
	}
	b.WriteByte('\n')
}

// capital makes a heading of a name.
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
