//go:build linux

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceName is the device's name in both namespaces.
const deviceName = "link0"

// waiting is how many packets the kernel keeps for us before it drops some by itself: more than the loop ever leaves there.
const waiting = 10000

// end is one side: a namespace with a loopback and a TUN device.
type end struct {
	space *namespace
	addr  netip.Addr
	tun   int
}

// network is the one set aside for measuring (RFC 2544): 198.18.0.1 is A, 198.18.0.2 is B.
func network(s Side) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(s) + 1}) }

func openEnd(s Side, o Options) (*end, error) {
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	e := &end{space: space, addr: network(s), tun: -1}
	if err := space.run(func() error { return e.configure(o) }); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// close takes the device away, and with it the addresses.
func (e *end) close() error {
	var err error
	if e.tun >= 0 {
		err = unix.Close(e.tun)
	}
	return errors.Join(err, e.space.close())
}

// configure runs in the namespace.
func (e *end) configure(o Options) error {
	const file = "/dev/net/tun"
	tun, err := unix.Open(file, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("open %s: %w; the kernel's module is missing: modprobe tun", file, err)
		}
		return needs("open "+file, err, os.Geteuid())
	}
	e.tun = tun
	if err := settings(); err != nil {
		return err
	}
	if err := e.setUp(o.MTU); err != nil {
		return err
	}
	return e.setCongestion(o.Congestion)
}

// setUp makes the device and brings it and the loopback up.
func (e *end) setUp(mtu int) error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket to configure devices with: %w", err)
	}
	defer func() { _ = unix.Close(sock) }() // it has carried nothing
	for _, step := range []struct {
		what, device string
		fd           int
		request      uint
		value        func(*unix.Ifreq) error
	}{
		{"make the device", deviceName, e.tun, unix.TUNSETIFF, number16(unix.IFF_TUN | unix.IFF_NO_PI)},
		{"set its address", deviceName, sock, unix.SIOCSIFADDR, address(e.addr)},
		{"set its netmask", deviceName, sock, unix.SIOCSIFNETMASK, address(netip.AddrFrom4([4]byte{255, 255, 255, 0}))},
		{"set its MTU", deviceName, sock, unix.SIOCSIFMTU, number32(uint32(mtu))},
		{"set its queue", deviceName, sock, unix.SIOCSIFTXQLEN, number32(waiting)},
		{"bring it up", deviceName, sock, unix.SIOCSIFFLAGS, number16(unix.IFF_UP | unix.IFF_RUNNING)},
		{"bring the loopback up", "lo", sock, unix.SIOCSIFFLAGS, number16(unix.IFF_UP | unix.IFF_RUNNING)},
	} {
		req, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.value(req)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.request, req)
		}
		if err != nil {
			return needs(step.what, err, os.Geteuid())
		}
	}
	return nil
}

func number16(n uint16) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint16(n); return nil }
}

func number32(n uint32) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint32(n); return nil }
}

func address(a netip.Addr) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) }
}

// settings makes the namespace quiet and without memory, before there is anything to be heard in it.
func settings() error {
	for file, value := range map[string]string{
		// Neighbours are looked for over IPv6 unasked, which would disturb the counters.
		"/proc/sys/net/ipv6/conf/all/disable_ipv6": "1",
		// A connection would begin with what the kernel has learnt from the one before: runs would depend on their order.
		"/proc/sys/net/ipv4/tcp_no_metrics_save": "1",
	} {
		err := os.WriteFile(file, []byte(value), 0)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && strings.Contains(file, "ipv6")) {
			return needs("write "+file, err, os.Geteuid())
		}
	}
	return nil
}

// setCongestion makes it a property of the route, locked. The sysctl would do for namespaces only what the machine allows every
// user, and programs that choose for themselves would not be comparable with those that do not.
func (e *end) setCongestion(name string) error {
	if name == "" {
		return nil
	}
	to := netip.PrefixFrom(e.addr, 24).Masked().String()
	cmd := exec.Command("ip", "route", "replace", to, "dev", deviceName, "src", e.addr.String(), "congctl", "lock", name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the congestion control %s: %w: %s; is its module there? modprobe tcp_%s", name, err, strings.TrimSpace(string(out)), name)
	}
	return nil
}

// overruns is how many packets the kernel has dropped because the loop did not fetch them in time. It runs in the namespace.
func overruns() (uint64, error) {
	const file = "/proc/thread-self/net/dev"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, numbers, _ := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		const sendDrops = 11 // of the sixteen columns, those of sending begin with the ninth
		if strings.TrimSpace(name) == deviceName && len(fields) > sendDrops {
			return strconv.ParseUint(fields[sendDrops], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s does not have the device %s", file, deviceName)
}
