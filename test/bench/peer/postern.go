//go:build linux

package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/test/bench/report"
	"github.com/postern-dev/postern/test/bench/usage"
)

// Variant is a way to run Postern.
type Variant struct {
	Name      string
	Transport string
	Relay     []string // further flags of the relay
	Agent     []string // further flags of the agent
	Env       []string // NAME=VALUE, of both
}

// variants are the transports that this version has.
func variants() []Variant {
	var all []Variant
	for _, transport := range []string{"tls", "quic", "websocket", "longpoll"} {
		if config.InThisVersion("transport", transport) {
			all = append(all, Variant{Name: "postern-" + transport, Transport: transport})
		}
	}
	return all
}

// ParseVariant reads NAME=TRANSPORT with what follows, separated by spaces: relay:FLAG, agent:FLAG and NAME=VALUE for the
// environment of both.
func ParseVariant(text string) (Variant, error) {
	words := strings.Fields(text)
	name, transport, ok := strings.Cut(strings.Join(words[:min(1, len(words))], ""), "=")
	if !ok || name == "" || transport == "" {
		return Variant{}, fmt.Errorf("%q does not begin with NAME=TRANSPORT", text)
	}
	v := Variant{Name: name, Transport: transport}
	for _, word := range words[1:] {
		side, flag, hasSide := strings.Cut(word, ":")
		switch {
		case hasSide && side == "relay":
			v.Relay = append(v.Relay, flag)
		case hasSide && side == "agent":
			v.Agent = append(v.Agent, flag)
		case strings.Contains(word, "="):
			v.Env = append(v.Env, word)
		default:
			return Variant{}, fmt.Errorf("%q in %q is neither relay:FLAG, agent:FLAG nor NAME=VALUE", word, text)
		}
	}
	return v, nil
}

func (v Variant) peer(o Options) Peer {
	about := strings.TrimSpace("Postern over " + v.Transport + " " + strings.Join(append(append(v.Env, v.Relay...), v.Agent...), " "))
	return Peer{
		Peer: report.Peer{Name: v.Name, About: about + ", public port of postern expose", Kind: report.Postern},
		Find: func() (string, error) {
			version, err := firstLine(exec.Command(o.Postern, "version"))
			if err != nil {
				return "", fmt.Errorf("%w; make build makes it", err)
			}
			return version, nil
		},
		Start: func(ctx context.Context, s *Site) (*Tunnel, error) {
			t := &Tunnel{}
			r, err := v.relay(ctx, o, s, t)
			if err != nil {
				return t.failed(err)
			}
			if err := v.expose(ctx, o, s, t, r); err != nil {
				return t.failed(err)
			}
			return t, nil
		},
		Agents: func(ctx context.Context, s *Site, n int) (float64, error) { return v.agents(ctx, o, s, n) },
	}
}

// relay is what the others need to know of a running relay.
type relay struct {
	Agents string // address, from the ready file
	Web    string

	data string // folder
}

// relay starts a relay as part of a tunnel.
func (v Variant) relay(ctx context.Context, o Options, s *Site, t *Tunnel) (*relay, error) {
	r := &relay{data: filepath.Join(s.Dir, "relay")}
	host, ready := s.Relay.Addr.String(), filepath.Join(s.Dir, "ready.json")
	web := "off"
	if v.overHTTP() {
		web = host + ":0"
	}
	args := append([]string{
		"relay", "--data", r.data, "--ready-file", ready, "--agents", host + ":0", "--advertise", host,
		"--proxy", "off", "--socks", "off", "--web", web, "--admin", "off",
	}, v.Relay...)
	p, err := s.runWith(s.Relay, "postern-relay", v.Env, o.Postern, args...)
	if err != nil {
		return nil, err
	}
	t.relay = append(t.relay, p)
	return r, p.until(ctx, "writes "+ready, func() (bool, error) {
		text, err := os.ReadFile(ready)
		if os.IsNotExist(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, json.Unmarshal(text, r)
	})
}

// overHTTP reports whether agents come to the web listener.
func (v Variant) overHTTP() bool { return v.Transport == "websocket" || v.Transport == "longpoll" }

// address is where agents connect.
func (v Variant) address(r *relay) string {
	if v.overHTTP() {
		return "http://" + r.Web
	}
	return r.Agents
}

// expose starts an agent with a public port.
func (v Variant) expose(ctx context.Context, o Options, s *Site, t *Tunnel, r *relay) error {
	token, err := firstLine(exec.Command(o.Postern, "auth", "jwt", "token",
		"--data", r.data, "--agent-id", "bench", "--role", "agent", "--ports", "1024-65535"))
	if err != nil {
		return err
	}
	file, err := s.write("token", token+"\n")
	if err != nil {
		return err
	}
	args := append([]string{
		"expose", "tcp", s.Target, "--json", "--relay", v.address(r), "--ca", filepath.Join(r.data, "ca.pem"),
		"--token", "file:" + file, "--transport", v.Transport,
	}, v.Agent...)
	p, err := s.runWith(s.Agent, "postern-expose", v.Env, o.Postern, args...)
	if err != nil {
		return err
	}
	t.agent = append(t.agent, p)
	line, err := p.line(ctx)
	if err != nil {
		return err
	}
	var public struct{ Address string }
	if err := json.Unmarshal([]byte(line), &public); err != nil {
		return fmt.Errorf("postern expose printed %q: %w", line, err)
	}
	t.Addr = public.Address
	return nil
}

// agents starts a relay and then one process with many agents, in two steps: the first few make what all share.
func (v Variant) agents(ctx context.Context, o Options, s *Site, n int) (perAgent float64, err error) {
	t := &Tunnel{}
	defer func() {
		if stopped := t.Stop(); err == nil {
			err = stopped
		}
	}()
	r, err := v.relay(ctx, o, s, t)
	if err != nil {
		return 0, err
	}
	pid := []int{t.relay[0].cmd.Process.Pid}
	first := min(n/2, 32)
	var held [2]int64
	for i, count := range []int{first, n - first} {
		group := fmt.Sprintf("agents-%d", i)
		p, err := s.runWith(s.Agent, group, v.Env, o.Self, "agents", v.address(r), r.data, v.Transport, group, fmt.Sprint(count), s.Dir)
		if err != nil {
			return 0, err
		}
		t.agent = append(t.agent, p)
		if _, err := p.line(ctx); err != nil {
			return 0, err
		}
		if held[i], err = usage.Memory(pid); err != nil {
			return 0, err
		}
	}
	return float64(held[1]-held[0]) / float64(n-first), nil
}
