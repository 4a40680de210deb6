package all

import (
	"testing"

	"github.com/postern-dev/postern"
)

func TestEveryKindIsMadeUnderItsOwnName(t *testing.T) {
	for name, create := range Table() {
		protocol := create(Options{Agent: "nas", Target: postern.Target{Network: postern.Service, Host: "web"}})
		if protocol.Name() != name {
			t.Errorf("the kind %q calls itself %q", name, protocol.Name())
		}
	}
}

func TestTableIsNotShared(t *testing.T) {
	first := Table()
	delete(first, "connect")
	if Table()["connect"] == nil {
		t.Error("changing one table changed another")
	}
}
