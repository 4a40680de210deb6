//go:build linux

package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Table is the main result as text: for each road and metric the reference's figure, and of all others the ratio to it.
func (r *Run) Table() string {
	var b strings.Builder
	for _, road := range r.Roads {
		rows := r.ratios(road)
		if len(rows) == 1 {
			continue
		}
		fmt.Fprintf(&b, "%s; %s\n\n", road, r.legend())
		align(&b, rows)
		for _, name := range r.cases(road) {
			for _, line := range r.failures(road, name) {
				fmt.Fprintf(&b, "failed in %s: %s\n", name, line)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(r.quietness() + "\n")
	return b.String()
}

// legend says what the cells of the main table are.
func (r *Run) legend() string {
	if !r.hasReference() {
		return fmt.Sprintf("medians of up to %d rounds", r.Settings.Rounds)
	}
	return fmt.Sprintf("medians of up to %d rounds; 1.00x is as much as %s in the same round", r.Settings.Rounds, r.Reference)
}

func (r *Run) hasReference() bool {
	return slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Name == r.Reference })
}

// quietness says whether the machine was left alone.
func (r *Run) quietness() string {
	const quiet = 0.1
	share := r.others()
	text := fmt.Sprintf("A quiet run: in no case other processes took more than %.0f %% of the machine.", math.Ceil(share*100))
	if share > quiet {
		text = fmt.Sprintf("Not a quiet run: in the worst case other processes took %.0f %% of the machine. CPU figures and ratios hold better than speeds.", share*100)
	}
	if n := r.overrun(); n > 0 {
		text += fmt.Sprintf(" In %d samples the machine was too busy for the link emulator, which has lost packets that nobody asked it to.", n)
	}
	return text
}

// cases are those that were run on a road, in the order of a report; those without a metric follow.
func (r *Run) cases(road string) []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	ran := make(map[string]bool)
	for _, s := range r.Samples {
		if s.Road == road {
			ran[s.Case] = true
		}
	}
	for _, m := range Metrics() {
		if ran[m.Case] {
			add(m.Case)
		}
	}
	return names
}

// ratios are the rows of the main table of a road, its head first. Where there is no reference the figures stand instead.
func (r *Run) ratios(road string) [][]string {
	compared := r.hasReference()
	head := []string{"", "unit"}
	if compared {
		head = append(head, r.Reference)
	}
	for _, p := range r.Peers {
		if p.Name != r.Reference {
			head = append(head, p.Name)
		}
	}
	rows := [][]string{head}
	for _, m := range r.measured(road, false) {
		row := []string{m.Title + " " + arrow(m), m.Unit}
		if compared {
			row = append(row, number(r.Figure(road, m, r.Reference)))
		}
		for _, p := range r.Peers {
			if p.Name != r.Reference {
				row = append(row, r.cell(road, m, p.Name))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// cell is the ratio of a peer, or its figure where the reference has none.
func (r *Run) cell(road string, m Metric, peer string) string {
	if r.Figure(road, m, r.Reference).Rounds == 0 {
		return number(r.Figure(road, m, peer))
	}
	return ratio(r.Ratio(road, m, peer))
}

// arrow says which way is better.
func arrow(m Metric) string {
	if m.Higher {
		return "↑"
	}
	return "↓"
}

func ratio(f Figure) string {
	if f.Rounds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", f.Median)
}

// number has three digits that count.
func number(f Figure) string {
	if f.Rounds == 0 {
		return "-"
	}
	return digits(f.Median)
}

func digits(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// align writes rows with columns below each other, numbers to the right.
func align(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < 2 {
				line.WriteString(cell + pad + "  ")
			} else {
				line.WriteString(pad + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
