package config

// Similar returns the one of words that s was most likely meant to be, or "" when none is close: at most one wrong
// letter in three.
func Similar(s string, words []string) string {
	best, found := len(s)/3+1, ""
	if len(s) > 64 {
		return "" // no word is that long, and the comparison would cost
	}
	for _, w := range words {
		if d := distance(s, w); d < best || d == best && found == "" {
			best, found = d, w
		}
	}
	return found
}

// distance counts the letters to insert, remove, replace or swap with their neighbour that make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
