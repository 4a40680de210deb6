package auth

// Len is the number of sources in the table.
func (g *Guard) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sources.Len()
}
