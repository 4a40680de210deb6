package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/config"
	"github.com/postern-dev/postern/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARelayIsReadyWhenEverythingIsOpen(t *testing.T) {
	cfg := configure(t)
	cfg.ReadyFile = filepath.Join(t.TempDir(), "ready.json")
	s := start(t, cfg)
	text, err := os.ReadFile(cfg.ReadyFile)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]string
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.listeners, file); diff != "" {
		t.Errorf("the ready file is not what is open (-open +file):\n%s", diff)
	}
	for _, name := range []string{"agents", "proxy", "socks", "admin"} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", file[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = c.Close() // that it opened is the answer
	}
	if status := s.ready(); status != http.StatusOK {
		t.Errorf("/readyz says %d", status)
	}
	if agents := s.agents(); len(agents) != 0 {
		t.Errorf("there are agents: %v", agents)
	}
}

func TestAnAgentAndAClientMeetByTheirJoinStrings(t *testing.T) {
	s := start(t, configure(t))
	s.agent()
	c, r := s.echo()
	if err := say(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("echoed %q, %v", line, err)
	}
	if a := s.agents()[0]; a.ID != "nas" || a.Streams != 1 || a.Version != "postern/test" {
		t.Errorf("the list of agents has %+v", a)
	}
}

func TestADrainingRelaySaysSoAndFinishesWhatItHas(t *testing.T) {
	s := start(t, configure(t))
	s.agent()
	c, r := s.echo()
	s.stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); s.ready() != http.StatusServiceUnavailable; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("a relay that stops is ready")
		}
	}
	// The listeners close at the same time as the drain begins, neither waits for the other.
	for deadline := time.Now().Add(patience); ; <-tick.C {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.listeners["proxy"])
		if err != nil {
			break
		}
		_ = c.Close() // that it opened is the answer
		if time.Now().After(deadline) {
			t.Fatal("a relay that stops accepts")
		}
	}
	err := errors.Join(say(c, "still here"), c.(*net.TCPConn).CloseWrite())
	if got, readErr := io.ReadAll(r); string(got) != "still here" || errors.Join(err, readErr) != nil {
		t.Errorf("the stream that was open read %q, %v, %v", got, err, readErr)
	}
	s.wait()
	if _, err := os.Stat(control.Path(s.cfg.Data)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is still there: %v", err)
	}
}

func TestASecondRelayWithTheFolderConflicts(t *testing.T) {
	cfg := configure(t)
	start(t, cfg)
	again := *cfg
	r, err := New(&again, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); postern.KindOf(err) != postern.Conflict || !strings.Contains(err.Error(), cfg.Data) {
		t.Errorf("Run returned %v", err)
	}
}

func TestAPortInUseIsNamedAndNothingStaysOpen(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := configure(t)
	cfg.Socks = config.Addr(taken.Addr().String())
	cfg.ReadyFile = filepath.Join(t.TempDir(), "ready.json")
	r, err := New(cfg, Options{OnReady: func(map[string]string) { t.Error("it is ready") }})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--socks") || !strings.Contains(err.Error(), string(cfg.Socks)) {
		t.Errorf("Run returned %v", err)
	}
	for _, path := range []string{cfg.ReadyFile, control.Path(cfg.Data)} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	// Nothing holds the folder either.
	cfg.Socks = config.Off
	start(t, cfg)
}

func TestEverythingThatIsWrongIsFoundBeforeTheStart(t *testing.T) {
	cfg := configure(t)
	cfg.Allow = []string{"10.0.0.0/99"}
	cfg.PublicKey = filepath.Join(t.TempDir(), "missing.pem")
	cfg.TLSCert, cfg.TLSKey = filepath.Join(t.TempDir(), "cert.pem"), "key.pem"
	cfg.Advertise = []string{"a b"}
	_, err := New(cfg, Options{})
	for _, want := range []string{"allow: ", "public-key: ", "tls-cert: ", "advertise: "} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the error does not name %s\n%v", want, err)
		}
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New made the data folder: %v", err)
	}
}
