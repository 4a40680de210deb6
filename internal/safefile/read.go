package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// maxFile is more than any key, certificate bundle or token has.
const maxFile = 1 << 20

// Read returns what is in a regular file of at most 1 MiB.
func Read(path string) ([]byte, error) {
	data, _, err := read(path)
	return data, err
}

// ReadPrivate is Read for secrets: a file that others than its owner can use is an error that says how to mend it.
func ReadPrivate(path string) ([]byte, error) {
	data, info, err := read(path)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s can be read or written by others (mode %04o): run chmod 600 %s", path, perm, path)
	}
	return data, nil
}

func read(path string) (data []byte, info fs.FileInfo, err error) {
	// Opening a FIFO would wait for its writer, so look first; what was opened is looked at again.
	if info, err = os.Stat(path); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, info, nil
}

// Dir makes the folder at path, for its owner alone, or checks the one that is there: others must not be able
// to put files into it. One that is empty and owned by us is tightened.
func Dir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the folder %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 == 0 || runtime.GOOS == "windows" {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("look into the folder %s: %w", path, err)
	}
	// A sticky one is a place that everybody shares, such as /tmp.
	if len(entries) == 0 && info.Mode()&fs.ModeSticky == 0 && os.Chmod(path, 0o700) == nil {
		return nil
	}
	return fmt.Errorf("others can write to the folder %s (mode %04o): run chmod 700 %s, or choose another folder", path, info.Mode().Perm(), path)
}
