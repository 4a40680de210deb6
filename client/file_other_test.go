//go:build !unix

package client

import (
	"io"
	"testing"
)

// addBlocking adds nothing: see file_other.go.
func addBlocking(*testing.T, map[string]io.Reader) {}
