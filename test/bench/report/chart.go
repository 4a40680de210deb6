//go:build linux

package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Chart is an image with a panel for each of some metrics, and in each a bar for every peer.
type Chart struct {
	Name   string // of the file, without .svg
	Title  string
	Panels []Panel
}

// Panel is one metric.
type Panel struct {
	Title string
	Note  string // the unit, and which way is better
	Bars  []Bar
}

// Bar is one peer.
type Bar struct {
	Label string
	Value float64
	Kind  Kind
}

// Charts are the images of a run that have anything to show.
func Charts(r *Run) []Chart {
	charts := []Chart{
		r.chart("throughput", "Throughput", Loopback, "down1/speed", "up1/speed", "down16/speed", "up16/speed"),
		r.chart("cpu", "Processor time of relay and agent", Loopback, "down1/cpu", "up1/cpu", "down16/cpu", "open32/cpu", "http64/cpu"),
		r.chart("latency", "Latency", Loopback, "ping/p50", "load4/p99", "paced4/p99", "open1/p50", "stalled16/p99"),
		r.chart("rates", "New streams and requests", Loopback, "open32/rate", "open32/p99", "http64/rate"),
		r.chart("memory", "Memory", Loopback, "idle/memory", "stalled16/memory", "agents/memory_relay"),
	}
	wan := Chart{Name: "link", Title: "Over a link"}
	for _, road := range r.Roads {
		if road != Loopback {
			wan.Panels = append(wan.Panels, r.chart("", "", road, "down1/speed", "load4/p99").Panels...)
		}
	}
	return slices.DeleteFunc(append(charts, wan), func(c Chart) bool { return len(c.Panels) == 0 })
}

func (r *Run) chart(name, title, road string, metrics ...string) Chart {
	c := Chart{Name: name, Title: title}
	for _, m := range Metrics() {
		if !slices.Contains(metrics, m.Name()) {
			continue
		}
		p := Panel{Title: m.Title, Note: m.Unit + ", less is better"}
		if m.Higher {
			p.Note = m.Unit + ", more is better"
		}
		if road != Loopback {
			p.Title += ", " + road
		}
		for _, peer := range r.Peers {
			if f := r.Figure(road, m, peer.Name); f.Rounds > 0 && peer.Name != Direct {
				p.Bars = append(p.Bars, Bar{Label: peer.Name, Value: f.Median, Kind: peer.Kind})
			}
		}
		slices.SortStableFunc(p.Bars, func(a, b Bar) int {
			if m.Higher {
				a, b = b, a
			}
			return cmp.Compare(a.Value, b.Value)
		})
		if len(p.Bars) > 0 {
			c.Panels = append(c.Panels, p)
		}
	}
	return c
}

// Where things stand in an image, in its units.
const (
	width     = 760
	labels    = 150 // room for the peers' names
	values    = 90  // and for the figures
	barHeight = 16
	rowHeight = 22
	headRoom  = 34 // of a panel's title
	margin    = 16
)

// style has one set of colours for light pages and one for dark ones; browsers and forges take the right one by themselves.
const style = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 16px }
.panel { font-weight: 600 }
.note, .value { fill: #57606a }
.postern { fill: #0a6ebd }
.bound { fill: #c4cbd2 }
.other { fill: #8c96a0 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 }
 .note, .value { fill: #9aa4ae }
 .postern { fill: #4aa8f0 }
 .bound { fill: #3d444d }
 .other { fill: #6b7580 }
 .page { fill: #0d1117 }
}
`

// Draw writes a chart as SVG.
func (c Chart) Draw(w io.Writer) error {
	height := margin + headRoom
	for _, p := range c.Panels {
		height += headRoom + rowHeight*len(p.Bars) + margin
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	write(&b, "title", margin, margin+16, "start", c.Title)
	legend(&b)
	y := margin + headRoom
	for _, p := range c.Panels {
		p.draw(&b, y)
		y += headRoom + rowHeight*len(p.Bars) + margin
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// legend says what the colours are, beside the title.
func legend(b *strings.Builder) {
	x := width - margin - 270
	for _, entry := range []struct {
		kind Kind
		name string
		room int
	}{{Postern, "Postern", 80}, {Other, "other tunnels", 115}, {Bound, "no tunnel", 0}} {
		fmt.Fprintf(b, `<circle class="%s" cx="%d" cy="%d" r="5"/>`+"\n", entry.kind, x, margin+11)
		write(b, "note", x+9, margin+16, "start", entry.name)
		x += entry.room
	}
}

func (p Panel) draw(b *strings.Builder, y int) {
	write(b, "panel", margin, y+16, "start", p.Title)
	write(b, "note", width-margin, y+16, "end", p.Note)
	longest := p.scale()
	for i, bar := range p.Bars {
		top := y + headRoom - 8 + i*rowHeight
		write(b, "label", labels, top+barHeight-3, "end", bar.Label)
		share, mark := bar.Value/longest, ""
		if share > 1 {
			share, mark = 1, "→ " // it goes on beyond the image
		}
		length := max(1, int(share*float64(width-labels-values-margin-8)))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="2"/>`+"\n", bar.Kind, labels+8, top, length, barHeight)
		write(b, "value", labels+8+length+6, top+barHeight-3, "start", mark+digits(bar.Value))
	}
}

// scale is the value that fills the width: the largest, unless it would leave nothing to see of the others.
func (p Panel) scale() float64 {
	var all []float64
	for _, bar := range p.Bars {
		all = append(all, bar.Value)
	}
	slices.Sort(all)
	const most = 5 // times the median
	return max(min(all[len(all)-1], most*median(all)), 1e-9)
}

func write(b *strings.Builder, class string, x, y int, anchor, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, escape(text))
}

func escape(s string) string {
	var b strings.Builder
	// A strings.Builder takes everything.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
