package mux

import "io"

// frame is a frame as read. The payload is valid until the next one is read.
type frame struct {
	header
	payload []byte
}

// frameReader cuts the road into frames. While it waits for a frame to begin after a quiet time, it holds a small buffer only.
type frameReader struct {
	road    io.Reader
	heard   func() // called whenever bytes arrived
	buffers *buffers

	small []byte
	large []byte // taken while frames are large or come thick
	buf   []byte // small or large
	r, w  int    // buf[r:w] is read and not yet used
	last  int    // how many bytes the last read brought
}

const (
	smallRead = 4 << 10
	largeRead = 128 << 10 // more than headerSize + maxData
)

func newFrameReader(road io.Reader, b *buffers, heard func()) *frameReader {
	fr := &frameReader{road: road, heard: heard, buffers: b, small: make([]byte, smallRead)}
	fr.buf = fr.small
	return fr
}

// next returns the next frame. An error of kind Internal or BadCommand is the far end's fault; others are the road's, and
// an end of the road between two frames is io.EOF.
func (fr *frameReader) next() (frame, error) {
	if err := fr.need(headerSize); err != nil {
		return frame{}, err
	}
	h := parseHeader(fr.buf[fr.r:])
	if err := h.check(); err != nil {
		return frame{}, err
	}
	if err := fr.need(headerSize + h.length); err != nil {
		return frame{}, err
	}
	begin := fr.r + headerSize
	fr.r = begin + h.length
	return frame{header: h, payload: fr.buf[begin:fr.r]}, nil
}

// need reads until n bytes are in the buffer.
func (fr *frameReader) need(n int) error {
	for fr.w-fr.r < n {
		fr.makeRoom(n)
		if err := fr.fill(); err != nil {
			if err == io.EOF && fr.w > fr.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeRoom sees to it that n bytes fit behind fr.r, and chooses the buffer.
func (fr *frameReader) makeRoom(n int) {
	switch {
	case fr.large == nil && (n > len(fr.small) || fr.last == len(fr.small)):
		fr.large = fr.buffers.get(largeRead)
		fr.moveTo(fr.large)
	case fr.large != nil && fr.r == fr.w && fr.last < len(fr.small):
		fr.moveTo(fr.small)
		fr.release()
	case fr.r+n > len(fr.buf) || fr.r == fr.w:
		fr.moveTo(fr.buf)
	}
}

func (fr *frameReader) moveTo(buf []byte) {
	fr.w = copy(buf, fr.buf[fr.r:fr.w])
	fr.r, fr.buf = 0, buf
}

// release gives the large buffer back. Nothing may be read afterwards but what is in small.
func (fr *frameReader) release() {
	if fr.large != nil {
		fr.buffers.put(fr.large)
		fr.large = nil
	}
}

// emptyReads is how often a road may return nothing before it counts as broken, as in bufio.
const emptyReads = 100

func (fr *frameReader) fill() error {
	for range emptyReads {
		n, err := fr.road.Read(fr.buf[fr.w:])
		if n > 0 {
			// The error, if there is one, comes again with the next read.
			fr.w += n
			fr.last = n
			fr.heard()
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
