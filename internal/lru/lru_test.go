package lru_test

import (
	"testing"

	"github.com/postern-dev/postern/internal/lru"
)

func TestTheLeastRecentlyUsedIsForgotten(t *testing.T) {
	m := lru.New[string, int](2)
	m.Put("a", 1)
	m.Put("b", 2)
	m.Get("a")
	m.Put("c", 3)
	if _, ok := m.Get("b"); ok {
		t.Error("b was kept, though a was used after it")
	}
	m.Put("a", 10)
	m.Put("d", 4)
	if v, ok := m.Get("a"); !ok || v != 10 {
		t.Errorf("a = %d, %v; want 10", v, ok)
	}
	if _, ok := m.Get("c"); ok || m.Len() != 2 {
		t.Errorf("c was kept, or there are %d entries instead of 2", m.Len())
	}
	m.Delete("a")
	m.Delete("nobody")
	if _, ok := m.Get("a"); ok || m.Len() != 1 {
		t.Error("a was not deleted")
	}
}
