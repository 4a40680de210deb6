package postern_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-dev/postern"
)

func TestHostsHaveOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM":       "example.com",
		"example.com.":      "example.com",
		"bücher.example":    "xn--bcher-kva.example",
		"XN--BCHER-KVA.com": "xn--bcher-kva.com",
		"127.0.0.1":         "127.0.0.1",
		"[::1]":             "::1",
		"2001:DB8::1":       "2001:db8::1",
		"::ffff:10.0.0.1":   "::ffff:10.0.0.1",
		"my_host":           "my_host",
		"1.example":         "1.example",
	} {
		if got, err := postern.CanonicalHost(in); got != want || err != nil {
			t.Errorf("CanonicalHost(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestHostsThatTwoProgramsWouldReadDifferentlyAreRefused(t *testing.T) {
	for _, in := range []string{
		"", ".", "..", "a..b", "2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.0.01", "0177.0.0.1", "1.2.3", "1.2.3.4.5",
		"fe80::1%eth0", "[127.0.0.1]", "a b", "a\tb", "a\x00b", "a\r\nb", "a/b", "user@host", "a:b", strings.Repeat("a", 64) + ".com",
		strings.Repeat("a.", 127) + "com", "256.256.256.256", "a%41", "[::1", "::1]", "1.0x7f",
	} {
		if got, err := postern.CanonicalHost(in); err == nil {
			t.Errorf("CanonicalHost(%q) = %q, want an error", in, got)
		} else if k := postern.KindOf(err); k != postern.BadAddress {
			t.Errorf("CanonicalHost(%q): kind %v, want bad address", in, k)
		}
	}
}

func TestTargetsAreReadAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]postern.Target{
		"10.0.0.7:22":          {Network: postern.TCP, Host: "10.0.0.7", Port: 22},
		"tcp://DB.internal:1":  {Network: postern.TCP, Host: "db.internal", Port: 1},
		"tcp/[::1]:65535":      {Network: postern.TCP, Host: "::1", Port: 65535},
		"udp/10.0.0.1:53":      {Network: postern.UDP, Host: "10.0.0.1", Port: 53},
		"/run/x.sock":          {Network: postern.Unix, Host: "/run/x.sock"},
		"unix:/run/x.sock":     {Network: postern.Unix, Host: "/run/x.sock"},
		"unix:///run/x.sock":   {Network: postern.Unix, Host: "/run/x.sock"},
		"service:Web":          {Network: postern.Service, Host: "web"},
		"web.service":          {Network: postern.Service, Host: "web"},
		"web.service:22":       {Network: postern.Service, Host: "web"},
		"Web.SERVICE":          {Network: postern.Service, Host: "web"},
		"tcp/web.service:8080": {Network: postern.Service, Host: "web"},
	} {
		got, err := postern.ParseTarget(in)
		if got != want || err != nil {
			t.Errorf("ParseTarget(%q) = %v, %v; want %v", in, got, err, want)
			continue
		}
		if err := got.Valid(); err != nil {
			t.Errorf("ParseTarget(%q) is not valid: %v", in, err)
		}
		if again, err := postern.ParseTarget(got.Address()); got.Network != postern.UDP && (again != got || err != nil) {
			t.Errorf("%q reads back as %v, %v", got.Address(), again, err)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, in := range []string{
		"", "host", "host:", "host:0", "host:65536", "host:http", "host:+22", "host:022", "host:-1", ":22", "::1:22", "http://host:80",
		"unix:x.sock", "/" + strings.Repeat("a", 107), "/a\x00b", "service:", "service:a/b", ".service", "host:22:33", "udp/web",
	} {
		if got, err := postern.ParseTarget(in); err == nil {
			t.Errorf("ParseTarget(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"10.0.0.7:22", "udp/[::1]:53", "unix:/x", "web.service:1", "BÜCHER.example:80", "0x7f.1:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := postern.ParseTarget(s)
		if err != nil {
			if postern.KindOf(err) != postern.BadAddress {
				t.Fatalf("kind %v, want bad address", postern.KindOf(err))
			}
			return
		}
		if err := target.Valid(); err != nil {
			t.Fatalf("%q was accepted as %v, which is not valid: %v", s, target, err)
		}
		if target.Network == postern.TCP {
			// What looks like an address to anybody must be one to us.
			if strings.Trim(target.Host, "0123456789.") == "" {
				if _, err := netip.ParseAddr(target.Host); err != nil {
					t.Fatalf("%q was accepted with the host %q", s, target.Host)
				}
			}
		}
	})
}

func TestAgentIDs(t *testing.T) {
	for _, ok := range []string{"a", "nas", "A.b_c-9", strings.Repeat("x", 64)} {
		if id, err := postern.ParseAgentID(ok); string(id) != ok || err != nil {
			t.Errorf("ParseAgentID(%q) = %q, %v", ok, id, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 65), "a b", "a\r\nset x 0 0 1", "../x", "<img src=x>", "a\u202eb", "ü", "a/b", strings.Repeat("x", 1<<20)} {
		_, err := postern.ParseAgentID(bad)
		if postern.KindOf(err) != postern.BadAddress {
			t.Errorf("ParseAgentID(%.20q) = %v, want a bad address", bad, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the error for %.20q has %d characters", bad, len(err.Error()))
		}
	}
}

func TestKindsKeepTheirNumbers(t *testing.T) {
	// The wire depends on them; see docs/wire.md.
	want := []postern.Kind{
		postern.Unauthenticated, postern.Denied, postern.NoSuchAgent, postern.AgentOffline, postern.Draining, postern.Refused,
		postern.Unreachable, postern.NameNotFound, postern.Timeout, postern.Limited, postern.Overloaded, postern.Conflict,
		postern.BadAddress, postern.BadCommand, postern.BadAddressType, postern.Internal, postern.Aborted,
	}
	got := postern.Kinds()
	if len(got) != len(want) {
		t.Fatalf("there are %d kinds, want %d", len(got), len(want))
	}
	for i, k := range want {
		if int(k) != i+1 || got[i] != k {
			t.Errorf("kind %q has number %d, want %d", k, k, i+1)
		}
		if k.Sentence() == "" || strings.HasPrefix(k.String(), "kind ") {
			t.Errorf("kind %d has no name or sentence", k)
		}
	}
}

func TestErrorsKeepKindHopAndCause(t *testing.T) {
	err := postern.Errorf(postern.Refused, postern.HopTarget, "connect to %s: %w", "db:1", io.ErrUnexpectedEOF)
	var outer error = &postern.Error{Kind: postern.Denied, Err: err}
	if k := postern.KindOf(outer); k != postern.Denied {
		t.Errorf("KindOf = %v, want that of the outer error", k)
	}
	if k := postern.KindOf(err); k != postern.Refused || postern.HopOf(err, postern.HopRelay) != postern.HopTarget {
		t.Errorf("kind %v at %v", k, postern.HopOf(err, postern.HopRelay))
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got, want := err.Error(), "connect to db:1: unexpected EOF"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	busy := &postern.Error{Kind: postern.Overloaded, RetryAfter: time.Second}
	if d := postern.RetryAfterOf(postern.Errorf(postern.Overloaded, postern.HopRelay, "relay r: %w", busy)); d != time.Second {
		t.Errorf("RetryAfterOf = %v, want that of the inner error", d)
	}
	if d := postern.RetryAfterOf(outer); d != 0 {
		t.Errorf("RetryAfterOf = %v although nobody said so", d)
	}
	for err, want := range map[error]postern.Kind{nil: postern.OK, context.DeadlineExceeded: postern.Timeout, io.EOF: postern.Internal} {
		if got := postern.KindOf(err); got != want {
			t.Errorf("KindOf(%v) = %v, want %v", err, got, want)
		}
	}
}

func TestIdentitiesReachTheAgentsTheyName(t *testing.T) {
	id := &postern.Identity{Role: postern.RoleClient, Agents: []string{"nas", "cam-*"}, Ports: []postern.PortRange{{Low: 20, High: 30}}}
	for agent, want := range map[postern.AgentID]bool{"nas": true, "cam-1": true, "cam-": true, "cam": false, "nas2": false, "NAS": false} {
		if got := id.MayReach(agent); got != want {
			t.Errorf("MayReach(%q) = %v", agent, got)
		}
	}
	for port, want := range map[uint16]bool{19: false, 20: true, 30: true, 31: false} {
		if got := id.Ports[0].Contains(port); got != want {
			t.Errorf("%v contains %d: %v", id.Ports[0], port, got)
		}
	}
	if id.AgentID() != "" {
		t.Error("a client stands for an agent")
	}
}

func TestParsePortRange(t *testing.T) {
	for s, want := range map[string]string{
		"8080": "8080", "20000-20999": "20000-20999", "80-80": "80", "1-65535": "1-65535",
		"": "", "-": "", "80-": "", "-80": "", "080": "", "80-080": "", "80 -90": "", "90-80": "", "0": "", "65536": "", "1-2-3": "", "http": "",
	} {
		r, err := postern.ParsePortRange(s)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("ParsePortRange(%q) = %v, %v; want %q", s, r, err, want)
		}
	}
}
