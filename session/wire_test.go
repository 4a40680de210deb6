package session

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

// The golden bytes stand in docs/wire.md as well; the test holds the two together.
var golden = []struct {
	name    string
	message any
	empty   func() any
	bytes   string
}{
	{
		"hello", &hello{MinVersion: 1, MaxVersion: 1, Role: "agent", Token: "t", Instance: "i"}, func() any { return new(hello) },
		"00 00 00 12 a5 01 01 02 01 03 65 61 67 65 6e 74 04 61 74 06 61 69",
	},
	{
		"welcome", &welcome{Version: 1, Relay: "r", Agent: "nas", Session: "s"}, func() any { return new(welcome) },
		"00 00 00 10 a5 01 00 03 01 04 61 72 06 63 6e 61 73 07 61 73",
	},
	{
		"hello beside another session", &hello{MinVersion: 1, MaxVersion: 1, Role: "agent", Token: "t", Instance: "i", Relieves: "s", Elsewhere: []string{"q"}},
		func() any { return new(hello) },
		"00 00 00 19 a7 01 01 02 01 03 65 61 67 65 6e 74 04 61 74 06 61 69 0a 61 73 0b 81 61 71",
	},
	{"refusal of a hello", &welcome{Kind: 11, Version: 1, Relay: "r", Retry: 500}, func() any { return new(welcome) }, "00 00 00 0c a4 01 0b 03 01 04 61 72 09 19 01 f4"},
	{
		"open", &open{Network: "tcp", Host: "10.0.0.7", Port: 22, Client: "192.0.2.1:4711", Trace: "x"}, func() any { return new(open) },
		"00 00 00 25 a5 01 63 74 63 70 02 68 31 30 2e 30 2e 30 2e 37 03 16 05 6e 31 39 32 2e 30 2e 32 2e 31 3a 34 37 31 31 07 61 78",
	},
	{"answer", &answer{}, func() any { return new(answer) }, "00 00 00 03 a1 01 00"},
	{
		"refusal", &answer{Kind: 6, Hop: "target", Detail: "no"}, func() any { return new(answer) },
		"00 00 00 0f a3 01 06 02 66 74 61 72 67 65 74 03 62 6e 6f",
	},
	{"drain", &control{Type: ctlDrain, Detail: "bye"}, func() any { return new(control) }, "00 00 00 08 a2 01 01 04 63 62 79 65"},
	{"ping", &control{Type: ctlPing, ID: 1}, func() any { return new(control) }, "00 00 00 05 a2 01 09 02 01"},
	{"pong", &control{Type: ctlPong, ID: 1}, func() any { return new(control) }, "00 00 00 05 a2 01 0a 02 01"},
	{
		"expose", &control{Type: ctlExpose, ID: 1, Network: "tcp", Target: "web.service"}, func() any { return new(control) },
		"00 00 00 17 a4 01 03 02 01 06 63 74 63 70 08 6b 77 65 62 2e 73 65 72 76 69 63 65",
	},
	{
		"open on the control stream", &control{Type: ctlOpen, ID: 1, Open: &open{Network: "service", Host: "web", Agent: "nas"}},
		func() any { return new(control) },
		"00 00 00 1a a3 01 05 02 01 0a a3 01 67 73 65 72 76 69 63 65 02 63 77 65 62 04 63 6e 61 73",
	},
	{"answer on a stream that was asked for", &answer{ID: 1}, func() any { return new(answer) }, "00 00 00 05 a2 01 00 05 01"},
	{
		"refusal on the control stream", &control{Type: ctlRefused, ID: 1, Kind: 6, Hop: "target", Detail: "no"}, func() any { return new(control) },
		"00 00 00 13 a5 01 06 02 01 03 06 04 62 6e 6f 0b 66 74 61 72 67 65 74",
	},
	{"cancel", &control{Type: ctlCancel, ID: 1}, func() any { return new(control) }, "00 00 00 05 a2 01 07 02 01"},
}

func TestMessagesHaveTheBytesOfTheDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := writeMessage(&buf, g.message, maxHello); err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.ReplaceAll(g.bytes, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(buf.Bytes(), want) {
				t.Errorf("the message is\n% x, want\n% x", buf.Bytes(), want)
			}
			if !strings.Contains(text, g.bytes) {
				t.Errorf("docs/wire.md does not have the bytes %s", g.bytes)
			}
			got := g.empty()
			if err := readMessage(&buf, got, maxHello); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.message, got); diff != "" {
				t.Errorf("read back differently (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryKindStandsInTheDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range postern.Kinds() {
		if row := "| " + k.String() + " | " + k.Sentence() + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/wire.md has no row %q", row)
		}
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	frame := func(n uint32, body string) string {
		return string(binary.BigEndian.AppendUint32(nil, n)) + body
	}
	for name, in := range map[string]string{
		"length 0":              frame(0, ""),
		"one byte too long":     frame(maxHello+1, strings.Repeat("a", maxHello+1)),
		"2^31":                  frame(1<<31, "aaaa"),
		"2^32-1":                frame(1<<32-1, "aaaa"),
		"truncated length":      "\x00\x00",
		"truncated body":        frame(10, "\xa1"),
		"not CBOR":              frame(1, "\xff"),
		"trailing bytes":        frame(4, "\xa1\x01\x00\x00"),
		"not a map":             frame(1, "\x01"),
		"a key twice":           frame(5, "\xa2\x01\x00\x01\x00"),
		"text that is no UTF-8": frame(4, "\xa1\x02\x61\xff"),
		"indefinite length":     frame(4, "\xbf\x01\x00\xff"),
		"a tag":                 frame(4, "\xa1\x01\xc1\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			var a answer
			if err := readMessage(strings.NewReader(in), &a, maxHello); err == nil || err == io.EOF && in != "" {
				t.Errorf("readMessage = %v, want an error that is not a clean end", err)
			}
		})
	}
}

func TestMessagesWithUnknownKeysAreRead(t *testing.T) {
	in := "\x00\x00\x00\x06\xa2\x01\x06\x18\x63\x00" // key 99
	var a answer
	if err := readMessage(strings.NewReader(in), &a, maxHello); err != nil {
		t.Fatal(err)
	}
	if a.Kind != 6 {
		t.Errorf("kind = %d, want 6", a.Kind)
	}
}

func TestRequestsTravelWhole(t *testing.T) {
	want := &postern.Request{
		Agent: "nas", Target: postern.Target{Network: postern.TCP, Host: "db.internal", Port: 5432},
		Client: netip.MustParseAddrPort("[2001:db8::1]:4711"), Identity: &postern.Identity{Subject: "alice"},
		Allow: [][]string{{"*.internal"}, {"10.0.0.0/8:5432", "*"}}, Trace: "0123456789abcdef",
	}
	got, err := openOf(want).request()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("the request changed on its way (-want +got):\n%s", diff)
	}
}

func TestOpensThatNobodyMayMean(t *testing.T) {
	good := open{Network: "tcp", Host: "10.0.0.7", Port: 22}
	for name, change := range map[string]func(o *open){
		"port 0":                func(o *open) { o.Port = 0 },
		"host with capitals":    func(o *open) { o.Host = "DB.internal" },
		"decimal address":       func(o *open) { o.Host = "2130706433" },
		"address with a zone":   func(o *open) { o.Host = "fe80::1%eth0" },
		"unknown network":       func(o *open) { o.Network = "sctp" },
		"relative unix path":    func(o *open) { o.Network, o.Host, o.Port = "unix", "x.sock", 0 },
		"service with a slash":  func(o *open) { o.Network, o.Host, o.Port = "service", "a/b", 0 },
		"agent with a newline":  func(o *open) { o.Agent = "a\nb" },
		"client without a port": func(o *open) { o.Client = "192.0.2.1" },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			change(&o)
			if req, err := o.request(); err == nil {
				t.Errorf("the open was taken as %+v", req)
			}
		})
	}
}

// FuzzReadMessage: whatever comes, reading takes no more than the frame, keeps no more than the limit, and what is accepted is
// the same when written and read again.
func FuzzReadMessage(f *testing.F) {
	for _, g := range golden {
		var buf bytes.Buffer
		if err := writeMessage(&buf, g.message, maxHello); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		var h hello
		if err := readMessage(r, &h, maxHello); err != nil {
			return
		}
		if read := len(in) - r.Len(); read != 4+int(binary.BigEndian.Uint32(in)) {
			t.Fatalf("read %d bytes of a frame of %d", read, 4+binary.BigEndian.Uint32(in))
		}
		var buf bytes.Buffer
		if err := writeMessage(&buf, &h, maxHello+1024); err != nil {
			t.Fatal(err)
		}
		var again hello
		if err := readMessage(&buf, &again, maxHello+1024); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, again); diff != "" {
			t.Fatalf("not the same when read again:\n%s", diff)
		}
	})
}

// FuzzOpen: an open that is accepted has a target in canonical form.
func FuzzOpen(f *testing.F) {
	f.Add("tcp", "10.0.0.7", uint16(22), "nas", "192.0.2.1:1")
	f.Add("unix", "/run/x.sock", uint16(0), "", "")
	f.Add("service", "web", uint16(0), "a", "")
	f.Fuzz(func(t *testing.T, network, host string, port uint16, agent, client string) {
		o := open{Network: network, Host: host, Port: port, Agent: agent, Client: client}
		req, err := o.request()
		if err != nil {
			return
		}
		if err := req.Target.Valid(); err != nil {
			t.Fatalf("accepted %q, which is not valid: %v", req.Target, err)
		}
		parsed, err := postern.ParseTarget(req.Target.Address())
		if err == nil && req.Target.Network == postern.TCP && parsed != req.Target {
			t.Fatalf("%q reads back as %q", req.Target, parsed)
		}
	})
}
