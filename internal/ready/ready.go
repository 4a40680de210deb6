// Package ready writes ready files: small JSON files that tell other programs that this one is up, and where.
package ready

import (
	"encoding/json"
	"fmt"

	"github.com/postern-dev/postern/internal/safefile"
)

// Write replaces the file at path with v as JSON in one step: a reader sees the old file or the new, never a part. Everybody may read it.
func Write(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return safefile.Replace(path, append(data, '\n'), 0o644)
}
