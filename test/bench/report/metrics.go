//go:build linux

package report

// Metric is one figure of a case.
type Metric struct {
	Case, Key string
	Title     string
	Unit      string
	Higher    bool // higher is better
	Detail    bool // left out where only the main figures stand
}

// Name tells a metric from all others.
func (m Metric) Name() string { return m.Case + "/" + m.Key }

// Metrics are all figures, in the order of a report.
func Metrics() []Metric {
	var all []Metric
	for _, t := range []struct{ name, title string }{
		{"down1", "download, 1 stream"},
		{"up1", "upload, 1 stream"},
		{"down16", "download, 16 streams"},
		{"up16", "upload, 16 streams"},
	} {
		all = append(all,
			Metric{Case: t.name, Key: "speed", Title: t.title, Unit: "MB/s", Higher: true},
			Metric{Case: t.name, Key: "cpu", Title: t.title + ": CPU of relay and agent", Unit: "s/GiB"},
			Metric{Case: t.name, Key: "cpu_relay", Title: t.title + ": CPU of the relay", Unit: "s/GiB", Detail: true},
			Metric{Case: t.name, Key: "cpu_agent", Title: t.title + ": CPU of the agent", Unit: "s/GiB", Detail: true},
			Metric{Case: t.name, Key: "fairness", Title: t.title + ": slowest stream against the mean", Higher: true, Detail: true})
	}
	return append(all, []Metric{
		{Case: "ping", Key: "p50", Title: "ping p50", Unit: "us"},
		{Case: "ping", Key: "p99", Title: "ping p99", Unit: "us"},
		{Case: "ping", Key: "cpu", Title: "ping: CPU of relay and agent", Unit: "us", Detail: true},
		{Case: "load4", Key: "p99", Title: "ping p99 beside 4 downloads", Unit: "us"},
		{Case: "load4", Key: "p50", Title: "ping p50 beside 4 downloads", Unit: "us", Detail: true},
		{Case: "load4", Key: "speed", Title: "those 4 downloads together", Unit: "MB/s", Higher: true},
		{Case: "paced4", Key: "p99", Title: "ping p99 beside 4 downloads of 20 MB/s", Unit: "us"},
		{Case: "paced4", Key: "p50", Title: "ping p50 beside 4 downloads of 20 MB/s", Unit: "us", Detail: true},
		{Case: "paced4", Key: "delivered", Title: "share of those 20 MB/s that arrived", Higher: true, Detail: true},
		{Case: "open1", Key: "p50", Title: "open and echo, one at a time: p50", Unit: "us"},
		{Case: "open1", Key: "p99", Title: "open and echo, one at a time: p99", Unit: "us", Detail: true},
		{Case: "open32", Key: "rate", Title: "new streams, 32 workers", Unit: "/s", Higher: true},
		{Case: "open32", Key: "p99", Title: "new streams, 32 workers: p99", Unit: "us"},
		{Case: "open32", Key: "cpu", Title: "new streams, 32 workers: CPU of relay and agent", Unit: "us"},
		{Case: "http64", Key: "rate", Title: "HTTP requests, 64 connections kept alive", Unit: "/s", Higher: true},
		{Case: "http64", Key: "cpu", Title: "HTTP requests: CPU of relay and agent", Unit: "us"},
		{Case: "http64", Key: "p99", Title: "HTTP requests: p99", Unit: "us", Detail: true},
		{Case: "stalled16", Key: "p99", Title: "new streams beside 16 that nobody reads: p99", Unit: "us"},
		{Case: "stalled16", Key: "p99_ratio", Title: "the same against before", Unit: "x", Detail: true},
		{Case: "stalled16", Key: "memory", Title: "memory of a stream that nobody reads, both sides", Unit: "KiB"},
		{Case: "stalled16", Key: "memory_relay", Title: "memory of a stream that nobody reads, relay", Unit: "KiB", Detail: true},
		{Case: "stalled16", Key: "memory_agent", Title: "memory of a stream that nobody reads, agent", Unit: "KiB", Detail: true},
		{Case: "idle", Key: "memory", Title: "memory of an idle stream, both sides", Unit: "KiB"},
		{Case: "idle", Key: "memory_relay", Title: "memory of an idle stream, relay", Unit: "KiB", Detail: true},
		{Case: "idle", Key: "memory_agent", Title: "memory of an idle stream, agent", Unit: "KiB", Detail: true},
		{Case: "agents", Key: "memory_relay", Title: "memory of an idle agent, relay", Unit: "KiB"},
	}...)
}

// measured are the metrics that any peer has on a road.
func (r *Run) measured(road string, detail bool) []Metric {
	var some []Metric
	for _, m := range Metrics() {
		if m.Detail && !detail {
			continue
		}
		for _, p := range r.Peers {
			if r.Figure(road, m, p.Name).Rounds > 0 {
				some = append(some, m)
				break
			}
		}
	}
	return some
}
