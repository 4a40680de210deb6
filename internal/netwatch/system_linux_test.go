package netwatch

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDefaultRoutesAreReadFromTheKernelsTables(t *testing.T) {
	for line, want := range map[string]string{
		"eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0":                       "192.0.2.1",
		"eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0":                       "",
		"tun0 00000000 00000000 0001 0 0 0 00000080 0 0 0":                       "", // half of everything, as VPNs have it, and the gateway is none
		"tun0 00000000 00000000 0001 0 0 0 00000000 0 0 0":                       "0.0.0.0",
		"Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT": "",
		"eth0 00000000 zz0200C0 0003 0 0 0 00000000 0 0 0":                       "",
		"": "",
	} {
		checkRoute(t, line, want, parseRoute4)
	}
	zeros := strings.Repeat("0", 32)
	for line, want := range map[string]string{
		zeros + " 00 " + zeros + " 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003 eth0":      "fd00::1",
		zeros + " 00 " + zeros + " 00 " + zeros + " ffffffff 00000001 00000000 00200200 lo":                           "",
		"fd000000000000000000000000000000 40 " + zeros + " 00 " + zeros + " 00000100 00000001 00000000 00000001 eth0": "",
		zeros + " 40 " + zeros + " 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003 eth0":      "",
		zeros + " 00 " + zeros + " 00 fd00 00000400 00000002 00000000 00000003 eth0":                                  "",
		zeros + " 00": "",
	} {
		checkRoute(t, line, want, parseRoute6)
	}
}

func checkRoute(t *testing.T, line, want string, parse func([]string) (gateway, bool)) {
	t.Helper()
	g, ok := parse(strings.Fields(line))
	if ok != (want != "") || ok && g.addr != netip.MustParseAddr(want) {
		t.Errorf("%q: %v, %v; want %q", line, g, ok, want)
	}
}
