package control

import (
	"context"
	"encoding/json"
	"errors"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a relay that answers what it is told.
type fake struct {
	agents []Agent
	err    error
	asked  JoinRequest
}

func (f *fake) Agents(context.Context) ([]Agent, error) { return f.agents, f.err }

func (f *fake) Join(_ context.Context, r JoinRequest) (JoinAnswer, error) {
	f.asked = r
	return JoinAnswer{Join: "string", Addresses: r.Relay, Pin: "sha256:00", Expires: time.Unix(1, 0).UTC()}, f.err
}

// serve runs a server on dir's socket; stop ends it and returns what Serve returned.
func serve(t *testing.T, dir string, r Relay) (stop func() error) {
	t.Helper()
	l, err := Listen(t.Context(), Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, Handler(r)) }()
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestAskAndAnswer(t *testing.T) {
	dir := t.TempDir()
	relay := &fake{agents: []Agent{{ID: "nas", Transport: "tls", Address: "192.0.2.1:5", Since: time.Unix(5, 0).UTC(), Streams: 1, Sent: 2, Received: 3}}}
	serve(t, dir, relay)
	client := NewClient(dir)
	agents, err := client.Agents(t.Context())
	if diff := cmp.Diff(relay.agents, agents); err != nil || diff != "" {
		t.Errorf("agents: %v (-want +got):\n%s", err, diff)
	}
	ask := JoinRequest{AgentID: "nas", Role: "agent", Ports: []string{"1-2"}, Relay: []string{"a:1"}, Lifetime: Duration(36 * time.Hour)}
	made, err := client.Join(t.Context(), ask)
	if err != nil || made.Join != "string" || !made.Expires.Equal(time.Unix(1, 0)) {
		t.Errorf("join: %+v, %v", made, err)
	}
	if diff := cmp.Diff(ask, relay.asked); diff != "" {
		t.Errorf("the relay was asked for something else (-want +got):\n%s", diff)
	}
}

func TestNoAgentsIsAList(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, &fake{})
	agents, err := NewClient(dir).Agents(t.Context())
	if err != nil || agents == nil || len(agents) != 0 {
		t.Errorf("%v, %v; want a list without agents", agents, err)
	}
}

// TestFailuresKeepTheirKind walks all kinds; of other errors the command learns nothing.
func TestFailuresKeepTheirKind(t *testing.T) {
	dir := t.TempDir()
	relay := &fake{}
	serve(t, dir, relay)
	client := NewClient(dir)
	for _, kind := range postern.Kinds() {
		relay.err = postern.Errorf(kind, postern.HopRelay, "because of %s", kind)
		_, err := client.Join(t.Context(), JoinRequest{})
		if postern.KindOf(err) != kind || err.Error() != relay.err.Error() {
			t.Errorf("%v came as %v", relay.err, err)
		}
	}
	relay.err = errors.New("the password is hunter2")
	if _, err := client.Agents(t.Context()); postern.KindOf(err) != postern.Internal || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("an error of another type came as %v", err)
	}
}

func TestUnknownRestrictionIsRefused(t *testing.T) {
	dir := t.TempDir()
	relay := &fake{}
	serve(t, dir, relay)
	var answer JoinAnswer
	err := NewClient(dir).do(t.Context(), http.MethodPost, PathJoin, map[string]string{"agent_id": "x", "only_on_mondays": "yes"}, &answer)
	if postern.KindOf(err) != postern.BadCommand || relay.asked.AgentID != "" {
		t.Errorf("%v; want BadCommand before the relay is asked", err)
	}
}

func TestUnknownCommandSaysSo(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, &fake{})
	err := NewClient(dir).do(t.Context(), http.MethodGet, "/v9/new", nil, nil)
	if postern.KindOf(err) != postern.BadCommand || !strings.Contains(err.Error(), "version") {
		t.Errorf("%v; want BadCommand that speaks of the version", err)
	}
}

func TestHugeRequestIsRefused(t *testing.T) {
	dir := t.TempDir()
	relay := &fake{}
	serve(t, dir, relay)
	_, err := NewClient(dir).Join(t.Context(), JoinRequest{AgentID: strings.Repeat("x", maxBody+1)})
	if err == nil || relay.asked.AgentID != "" {
		t.Errorf("%v; want an error before the relay is asked", err)
	}
}

func TestNobodyThere(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "not", "there"), filepath.Join(t.TempDir(), strings.Repeat("d", 120))} {
		if _, err := NewClient(dir).Agents(t.Context()); !errors.Is(err, ErrNoRelay) {
			t.Errorf("%v; want ErrNoRelay", err)
		}
	}
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, &fake{})
	info, err := os.Lstat(Path(dir))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v; want a socket with 0600", info.Mode(), err)
	}
}

func TestEndRemovesTheSocket(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, dir, &fake{})
	if err := stop(); err != nil {
		t.Errorf("a cancelled context is an error: %v", err)
	}
	if _, err := os.Lstat(Path(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestEndLeavesAnothersSocket(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, dir, &fake{})
	if err := os.Remove(Path(dir)); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(Path(dir)); err != nil {
		t.Errorf("the socket of another is gone: %v", err)
	}
}

func TestSecondRelayConflicts(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, &fake{})
	_, err := Listen(t.Context(), Path(dir))
	if postern.KindOf(err) != postern.Conflict {
		t.Errorf("%v; want Conflict", err)
	}
	if _, err := NewClient(dir).Agents(t.Context()); err != nil {
		t.Errorf("the first relay was disturbed: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: Path(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, dir, &fake{})
	if _, err := NewClient(dir).Agents(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFileInPlaceOfTheSocketStays(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(Path(dir), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Path(dir)); err == nil {
		t.Error("it started over a file that is no socket")
	}
	if text, err := os.ReadFile(Path(dir)); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

func TestDeepDataFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stop := serve(t, dir, &fake{})
	if _, err := NewClient(dir).Agents(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(Path(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestDurationInJSON(t *testing.T) {
	raw, err := json.Marshal(Duration(90 * time.Minute))
	if err != nil || string(raw) != `"1h30m0s"` {
		t.Errorf("%s, %v", raw, err)
	}
	var d Duration
	if err := json.Unmarshal([]byte(`"24h"`), &d); err != nil || d != Duration(24*time.Hour) {
		t.Errorf("%v, %v", d, err)
	}
	if err := json.Unmarshal([]byte(`"soon"`), &d); err == nil {
		t.Error("soon is a duration")
	}
}
