package commands

// Nearest is the word of words that s was probably meant to be: the one with
// the fewest typing mistakes between them, the first of equals. It is "" when
// none is near enough to be more than a guess.
func Nearest(s string, words []string) string {
	best, at := "", 1+max(1, len(s)/3)
	if len(s) > 40 {
		return ""
	}
	for _, w := range words {
		if d := Distance(s, w); d < at {
			best, at = w, d
		}
	}
	return best
}

// Distance counts the typing mistakes between a and b: letters that are
// missing, too many, wrong, or swapped with their neighbour (optimal string
// alignment).
func Distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
