//go:build linux

package usage

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestCPU compares a child's clock with what the kernel says when it has ended.
func TestCPU(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // the end of the test; below it is killed and waited for
	pids := []int{cmd.Process.Pid}
	var used time.Duration
	for deadline := time.Now().Add(20 * time.Second); used < 100*time.Millisecond; {
		var err error
		if used, err = CPU(pids); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("a child that never waits has used %v", used)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	total := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if used > total || total-used > 500*time.Millisecond {
		t.Errorf("the clock said %v, it ended with %v", used, total)
	}
	if _, err := CPU(pids); err == nil {
		t.Error("a process that has ended has a clock")
	}
}

func TestTree(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & echo started; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	tree, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(tree, cmd.Process.Pid) || tree[0] != os.Getpid() {
		t.Errorf("the tree %v misses the child %d", tree, cmd.Process.Pid)
	}
	if below, err := Tree(cmd.Process.Pid); err != nil || len(below) != 2 {
		t.Errorf("the child's own tree is %v, %v", below, err)
	}
}

func TestMemoryAndMachine(t *testing.T) {
	before, err := Memory([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	held := make([]byte, size)
	for i := range held {
		held[i] = 1
	}
	after, err := Memory([]int{os.Getpid()})
	// The race detector keeps several times as much beside it.
	if err != nil || after-before < size/2 || after-before > 8*size {
		t.Errorf("with %d bytes more it grew from %d to %d: %v", len(held), before, after, err)
	}
	busy, err := Busy()
	if err != nil || busy <= 0 {
		t.Errorf("the machine was busy for %v: %v", busy, err)
	}
	if m := ThisMachine(); m.CPUs < 1 || m.CPU == "" || m.Kernel == "" || m.MemoryMiB == 0 {
		t.Errorf("%+v", m)
	}
}
