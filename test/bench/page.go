//go:build linux

package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/postern-dev/postern/test/bench/report"
)

// chartFolder is where the page's charts are, beside it.
const chartFolder = "performance"

// writePage writes docs/performance.md and its charts from a result.
func writePage(result, docs string) error {
	f, err := os.Open(result)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	run, err := report.Read(f)
	if err != nil {
		return err
	}
	charts := report.Charts(run)
	if len(charts) > 0 {
		if err := os.MkdirAll(filepath.Join(docs, chartFolder), 0o755); err != nil {
			return err
		}
	}
	var images []report.Image
	for _, c := range charts {
		file := chartFolder + "/" + c.Name + ".svg"
		images = append(images, report.Image{File: file, Title: c.Title})
		if err := writeFile(filepath.Join(docs, file), c.Draw); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(docs, "performance.md"), func(w io.Writer) error { return run.Page(w, images) })
}
