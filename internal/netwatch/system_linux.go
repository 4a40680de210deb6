package netwatch

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// stirs listens to rtnetlink (rtnetlink(7)): every message is about an address or a route, and more need not be known of it.
func stirs(ctx context.Context, stirred func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "rtnetlink")
	const groups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() }) // ends the read below
	defer stop()
	buf := make([]byte, 8<<10)
	for {
		// ENOBUFS says that messages were lost, so there was something.
		if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return errors.Join(err, f.Close())
		}
		stirred()
	}
}

// gateways are the default routes of the main table.
func gateways() ([]gateway, error) {
	v4, err := readRoutes("/proc/net/route", parseRoute4)
	if err != nil {
		return nil, err
	}
	v6, err := readRoutes("/proc/net/ipv6_route", parseRoute6)
	if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		err = nil
	}
	return append(v4, v6...), err
}

// maxRoutes is how much of a table is read: a router of the Internet has a million routes, but its default stands first.
const maxRoutes = 256 << 10

func readRoutes(path string, parse func(fields []string) (gateway, bool)) ([]gateway, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var found []gateway
	lines := bufio.NewScanner(io.LimitReader(f, maxRoutes))
	for lines.Scan() {
		if g, ok := parse(strings.Fields(lines.Text())); ok {
			found = append(found, g)
		}
	}
	return found, lines.Err()
}

// parseRoute4 reads a line of /proc/net/route: device, destination and gateway, both in the byte order of the machine.
func parseRoute4(fields []string) (gateway, bool) {
	const device, destination, via, mask, columns = 0, 1, 2, 7, 11
	if len(fields) < columns || fields[destination] != "00000000" || fields[mask] != "00000000" {
		return gateway{}, false
	}
	raw, err := hex.DecodeString(fields[via])
	if err != nil || len(raw) != 4 {
		return gateway{}, false
	}
	var native [4]byte
	binary.NativeEndian.PutUint32(native[:], binary.BigEndian.Uint32(raw))
	return gateway{fields[device], netip.AddrFrom4(native)}, true
}

// parseRoute6 reads a line of /proc/net/ipv6_route.
func parseRoute6(fields []string) (gateway, bool) {
	const destination, length, via, device, columns = 0, 1, 4, 9, 10
	if len(fields) < columns || strings.Trim(fields[destination], "0") != "" || fields[length] != "00" || fields[device] == "lo" {
		return gateway{}, false
	}
	raw, err := hex.DecodeString(fields[via])
	if err != nil || len(raw) != 16 {
		return gateway{}, false
	}
	return gateway{fields[device], netip.AddrFrom16([16]byte(raw))}, true
}
