//go:build linux

package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Transfers repeat one row of random bytes. Its length has no common divisor with what buffers, frames and records hold, so that a
// piece that is lost, repeated or swapped shows wherever it was cut.
const (
	period = 1<<20 + 4099
	piece  = 256 << 10 // at most what is written or read at once
)

// pattern is a period and so much of the next that a piece can begin anywhere.
type pattern []byte

func newPattern() pattern {
	p := make(pattern, period, period+piece)
	_, _ = rand.NewChaCha8([32]byte{'p', 'o', 's', 't', 'e', 'r', 'n'}).Read(p) // it never fails
	return append(p, p[:piece]...)
}

// at is what a transfer has at an offset.
func (p pattern) at(offset int64, n int) []byte { return p[offset%period:][:n] }

// checker compares what arrives with the pattern: both ends of every read, and all of one read in sixteen. Comparing everything
// would take a tenth of the processor time that the tunnels compete for.
type checker struct {
	pattern pattern
	offset  int64
	reads   int
}

const checkedEnd = 64

func (c *checker) check(b []byte) error {
	want := c.pattern.at(c.offset, len(b))
	c.reads++
	ok := true
	if len(b) <= 2*checkedEnd || c.reads%16 == 1 {
		ok = bytes.Equal(b, want)
	} else {
		last := len(b) - checkedEnd
		ok = bytes.Equal(b[:checkedEnd], want[:checkedEnd]) && bytes.Equal(b[last:], want[last:])
	}
	if !ok {
		return fmt.Errorf("wrong bytes between %d and %d of a transfer", c.offset, c.offset+int64(len(b)))
	}
	c.offset += int64(len(b))
	return nil
}
