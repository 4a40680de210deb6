//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells where a run is: one line that is written over on a terminal, a line for each case elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	total    int
	done     int
	last     string // what was said last, to say it once
	width    int    // of the line on the terminal
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{w: w, total: total, began: time.Now()}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.terminal = err == nil
	}
	return p
}

// step says what is measured next.
func (p *progress) step(road string, round int, name, peer string) {
	left := ""
	if p.done > 0 {
		each := time.Since(p.began) / time.Duration(p.done)
		left = fmt.Sprintf(", %v left", (each * time.Duration(p.total-p.done)).Round(time.Second))
	}
	where := fmt.Sprintf("%s, round %d, %s", road, round+1, name)
	line := fmt.Sprintf("%3d %%%s: %s, %s", 100*p.done/max(p.total, 1), left, where, peer)
	p.done++
	switch {
	case p.terminal:
		p.over(line)
	case where != p.last:
		p.write(line + "\n")
	}
	p.last = where
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	p.clear()
	p.write(fmt.Sprintf(format, args...) + "\n")
}

// clear takes the line away.
func (p *progress) clear() {
	if p.terminal {
		p.over("")
		p.write("\r")
	}
}

func (p *progress) over(line string) {
	p.write("\r" + line + strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

func (p *progress) write(s string) {
	// Nobody misses a line about progress.
	_, _ = io.WriteString(p.w, s)
}
