// Package lru is a map that forgets what was used least recently once it is full, for tables that strangers fill.
//
//	table := lru.New[netip.Prefix, *entry](65536)
//	e, ok := table.Get(source)
//	if !ok {
//		e = &entry{}
//		table.Put(source, e)
//	}
package lru

import "container/list"

// Map holds at most a fixed number of entries. It is not safe for concurrent use: its owner has a mutex.
type Map[K comparable, V any] struct {
	max   int
	order *list.List // of pair[K, V]; the most recently used one is in front
	items map[K]*list.Element
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// New returns an empty Map for max entries. It takes memory only as it fills.
func New[K comparable, V any](max int) *Map[K, V] {
	return &Map[K, V]{max: max, order: list.New(), items: make(map[K]*list.Element)}
}

// Get returns the value of k and marks it as used.
func (m *Map[K, V]) Get(k K) (V, bool) {
	e, ok := m.items[k]
	if !ok {
		var none V
		return none, false
	}
	m.order.MoveToFront(e)
	return e.Value.(pair[K, V]).value, true
}

// Put sets the value of k, marks it as used, and forgets the least recently used entry if there are too many.
func (m *Map[K, V]) Put(k K, v V) {
	if e, ok := m.items[k]; ok {
		e.Value = pair[K, V]{k, v}
		m.order.MoveToFront(e)
		return
	}
	m.items[k] = m.order.PushFront(pair[K, V]{k, v})
	if len(m.items) > m.max {
		oldest := m.order.Back()
		m.order.Remove(oldest)
		delete(m.items, oldest.Value.(pair[K, V]).key)
	}
}

// Delete forgets k.
func (m *Map[K, V]) Delete(k K) {
	if e, ok := m.items[k]; ok {
		m.order.Remove(e)
		delete(m.items, k)
	}
}

// Len is the number of entries.
func (m *Map[K, V]) Len() int { return len(m.items) }
