package relay

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-dev/postern"
)

func TestPortsPermittedAreThoseOfBothTokenAndRelay(t *testing.T) {
	r := func(low, high uint16) postern.PortRange { return postern.PortRange{Low: low, High: high} }
	for name, tt := range map[string]struct {
		token []postern.PortRange
		relay postern.PortRange
		want  []postern.PortRange
	}{
		"the relay has no rule":     {[]postern.PortRange{r(22, 22)}, r(0, 0), []postern.PortRange{r(22, 22)}},
		"the token has no ports":    {nil, r(1024, 65535), nil},
		"they overlap":              {[]postern.PortRange{r(1000, 2000)}, r(1500, 3000), []postern.PortRange{r(1500, 2000)}},
		"they do not":               {[]postern.PortRange{r(1, 1023)}, r(1024, 65535), nil},
		"some of the token's":       {[]postern.PortRange{r(80, 80), r(8080, 8090)}, r(1024, 65535), []postern.PortRange{r(8080, 8090)}},
		"all ports, all ports":      {[]postern.PortRange{r(1, 65535)}, r(1, 65535), []postern.PortRange{r(1, 65535)}},
		"the last port of the rule": {[]postern.PortRange{r(3000, 4000)}, r(1500, 3000), []postern.PortRange{r(3000, 3000)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, permitted(tt.token, tt.relay)); diff != "" {
				t.Errorf("permitted differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFreePortsComeFromAllRanges(t *testing.T) {
	ranges := []postern.PortRange{{Low: 65535, High: 65535}, {Low: 1, High: 3}}
	seen := make(map[uint16]bool)
	for range 1000 {
		seen[pick(ranges)] = true
	}
	if want := map[uint16]bool{65535: true, 1: true, 2: true, 3: true}; !cmp.Equal(seen, want) {
		t.Errorf("ports picked: %v, want %v", seen, want)
	}
}
