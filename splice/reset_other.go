//go:build !linux

package splice

import "net"

// wasReset cannot tell on other systems; there a reset that only a concurrent Write was told of reads as an end.
func wasReset(net.Conn) bool { return false }
