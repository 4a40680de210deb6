package mux

import "sync"

// sizes are the sizes of the buffers that a Conn keeps for use again: a short message, a TLS record, a frame, a flush.
var sizes = [...]int{2 << 10, 16 << 10, maxData, largeRead}

// buffers are the free buffers of a connection, by size. They hold nothing that must be freed.
type buffers struct {
	pools [len(sizes)]sync.Pool
}

// get returns a buffer of n bytes or the next larger size, at most the largest.
func (b *buffers) get(n int) []byte {
	for i, size := range sizes {
		if n <= size || i == len(sizes)-1 {
			if p, ok := b.pools[i].Get().(*[]byte); ok {
				return *p
			}
			return make([]byte, size)
		}
	}
	return nil // sizes is not empty
}

// put gives a buffer back that get returned.
func (b *buffers) put(p []byte) {
	for i, size := range sizes {
		if len(p) == size {
			b.pools[i].Put(&p)
			return
		}
	}
}

// chunk is a piece of a stream's bytes that were received; buf[r:w] is not yet read.
type chunk struct {
	buf  []byte
	r, w int
}

func (k *chunk) unread() []byte { return k.buf[k.r:k.w] }

// chunks is what a stream has received and nobody has read. A new chunk is begun only when the last one is full, so
// that a far end cannot make one byte cost more than one.
type chunks struct {
	list []chunk
	size int // bytes unread
}

// push copies p to the end.
func (q *chunks) push(p []byte, b *buffers) {
	q.size += len(p)
	for len(p) > 0 {
		if len(q.list) == 0 || q.list[len(q.list)-1].w == len(q.list[len(q.list)-1].buf) {
			q.list = append(q.list, chunk{buf: b.get(min(len(p), maxData))})
		}
		last := &q.list[len(q.list)-1]
		n := copy(last.buf[last.w:], p)
		last.w += n
		p = p[n:]
	}
}

// pop takes the first chunk out. The caller puts its buffer back.
func (q *chunks) pop() chunk {
	first := q.list[0]
	q.list[0] = chunk{}
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil
	}
	q.size -= len(first.unread())
	return first
}

// take copies the beginning of the first chunk, which has more than p.
func (q *chunks) take(p []byte) int {
	n := copy(p, q.list[0].unread())
	q.list[0].r += n
	q.size -= n
	return n
}

// drop frees everything and returns how many bytes that were.
func (q *chunks) drop(b *buffers) int {
	size := q.size
	for len(q.list) > 0 {
		b.put(q.pop().buf)
	}
	return size
}

// fifo is a queue of streams.
type fifo struct {
	list []*Stream
}

func (q *fifo) empty() bool { return len(q.list) == 0 }

func (q *fifo) push(s *Stream) { q.list = append(q.list, s) }

func (q *fifo) pop() *Stream {
	first := q.list[0]
	q.list[0] = nil
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil
	}
	return first
}
