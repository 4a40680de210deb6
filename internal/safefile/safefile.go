// Package safefile writes files so that they are there whole or not at all, and reads files that must be nobody else's.
//
//	err := safefile.Create("relay.key", pem, 0o600)   // fails if there is anything of that name
//	err = safefile.Replace("relay.pem", pem, 0o644)   // the old file or the new one, never a mixture
//	pem, err := safefile.ReadPrivate("relay.key")     // refuses what others can read
package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Create writes data to a new file with mode perm. If anything has that name, be it a symlink, the
// error is fs.ErrExist and nothing is changed.
func Create(path string, data []byte, perm fs.FileMode) error {
	tmp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	// Linking fails where rename would overwrite, and never follows a symlink at path.
	switch err = os.Link(tmp, path); {
	case err == nil, errors.Is(err, fs.ErrExist):
		err = errors.Join(err, os.Remove(tmp))
	default:
		err = renameNew(tmp, path)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// renameNew is for file systems without links. Somebody else's file made between its two steps is lost.
func renameNew(tmp, path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return errors.Join(fs.ErrExist, os.Remove(tmp))
	case !errors.Is(err, fs.ErrNotExist):
		return errors.Join(err, os.Remove(tmp))
	}
	return rename(tmp, path)
}

// Replace writes data to path with mode perm, over what was there. A symlink is replaced, not followed.
func Replace(path string, data []byte, perm fs.FileMode) error {
	tmp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	if err := rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func rename(tmp, path string) error {
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// writeTemp writes data to a file of its own beside path, down to the disk, and returns its name.
func writeTemp(path string, data []byte, perm fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600 and O_EXCL
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes a new name in dir last through a power cut.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no such call
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
