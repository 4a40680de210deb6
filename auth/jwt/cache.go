package jwt

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/lru"
)

// cacheSize bounds the cache: only tokens that we have signed get in, so it is the number of those in use at once.
const cacheSize = 8192

// verified is a token whose signature and claims were good. Time, audience and role are checked at each use.
type verified struct {
	claims   Claims
	identity *postern.Identity
}

// cache remembers tokens that were verified, so that a client with a hundred streams costs one verification. It holds no token, only a
// keyed hash: nothing in memory can be used as a credential, and nobody can aim at a bucket.
type cache struct {
	key [32]byte

	mu    sync.Mutex
	known *lru.Map[[32]byte, verified] // guarded by mu
}

func newCache() *cache {
	c := &cache{known: lru.New[[32]byte, verified](cacheSize)}
	// It never returns an error and always fills the key; see its documentation.
	_, _ = rand.Read(c.key[:])
	return c
}

// tag is the name under which the cache knows token.
func (c *cache) tag(token string) (tag [32]byte) {
	h := hmac.New(sha256.New, c.key[:])
	h.Write([]byte(token))
	h.Sum(tag[:0])
	return tag
}

func (c *cache) get(tag [32]byte) (verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Get(tag)
}

func (c *cache) put(tag [32]byte, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Put(tag, v)
}

func (c *cache) drop(tag [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Delete(tag)
}
