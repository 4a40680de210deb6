package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/postern-dev/postern/internal/control"
)

// agentsCmd is postern agents.
type agentsCmd struct {
	List agentsListCmd `cmd:"" help:"show who is connected to the relay on this machine"`
}

// agentsListCmd is postern agents list.
type agentsListCmd struct {
	Data string `placeholder:"DIR" help:"the relay's data folder; none given: POSTERN_DATA, ./data, ~/.local/share/postern, /var/lib/postern"`
	JSON bool   `name:"json" help:"print them as JSON"`
}

func (c *agentsListCmd) run(ctx context.Context, e *env) error {
	data, err := e.dataFolder(c.Data)
	if err != nil {
		return err
	}
	agents, err := control.NewClient(data).Agents(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.stdout, control.Agents{Agents: agents})
	}
	rows := [][]string{{"AGENT", "TRANSPORT", "ADDRESS", "SINCE", "STREAMS", "SENT", "RECEIVED"}}
	for _, a := range agents {
		rows = append(rows, []string{
			a.ID, a.Transport, a.Address, a.Since.UTC().Format(time.RFC3339),
			strconv.FormatInt(a.Streams, 10), amount(a.Sent), amount(a.Received),
		})
	}
	return printTable(e.stdout, rows)
}

// amount writes a count of bytes for people: 1.2 GiB.
func amount(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
