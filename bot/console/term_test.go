package console

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"pvebot/bot"
)

// term is a terminal of so many columns and rows that remembers what scrolled
// away. It knows what the console may use and complains about all else.
type term struct {
	mu            sync.Mutex
	width, height int
	lines         [][]string // cells; a wide character leaves an empty cell behind it
	row, col      int
	rest          string // an unfinished sequence
	trouble       []string
	writes        int
}

func newTerm(width, height int) *term {
	return &term{width: width, height: height, lines: [][]string{nil}}
}

func (t *term) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes++
	s := t.rest + string(p)
	t.rest = ""
	for s != "" {
		switch {
		case s[0] == '\x1b':
			end := strings.IndexFunc(s[1:], func(r rune) bool { return r >= '@' && r <= '~' && r != '[' })
			if end < 0 {
				t.rest = s
				return len(p), nil
			}
			t.escape(s[:end+2])
			s = s[end+2:]
		case s[0] == '\n':
			t.down()
			t.col = 0 // as the tty's ONLCR does
			s = s[1:]
		case s[0] == '\r':
			t.col = 0
			s = s[1:]
		default:
			r, n := utf8.DecodeRuneInString(s)
			if r == utf8.RuneError && n == 1 || r < ' ' {
				t.complain("raw byte %#x", s[0])
			}
			t.put(s[:n])
			s = s[n:]
		}
	}
	return len(p), nil
}

func (t *term) complain(format string, a ...any) {
	t.trouble = append(t.trouble, fmt.Sprintf(format, a...))
}

func (t *term) escape(seq string) {
	arg, _ := strconv.Atoi(strings.TrimLeft(seq[2:len(seq)-1], "["))
	switch seq[len(seq)-1] {
	case 'A':
		if arg > t.row-t.top() {
			t.complain("the cursor went %d rows up from row %d of the screen", arg, t.row-t.top())
		}
		t.row = max(t.top(), t.row-arg)
	case 'K':
		t.lines[t.row] = t.lines[t.row][:min(t.col, len(t.lines[t.row]))]
	case 'J':
		t.lines[t.row] = t.lines[t.row][:min(t.col, len(t.lines[t.row]))]
		t.lines = t.lines[:t.row+1]
	case 'm':
	default:
		t.complain("unknown sequence %q", seq)
	}
}

// top is the row that the screen begins with.
func (t *term) top() int { return max(0, len(t.lines)-t.height) }

func (t *term) down() {
	t.row++
	if t.row == len(t.lines) {
		t.lines = append(t.lines, nil)
	}
}

func (t *term) put(char string) {
	w := bot.Columns(char)
	if w == 0 {
		return
	}
	if t.col+w > t.width {
		t.down()
		t.col = 0
	}
	line := t.lines[t.row]
	for len(line) < t.col+w {
		line = append(line, " ")
	}
	line[t.col] = char
	if w == 2 {
		line[t.col+1] = ""
	}
	t.lines[t.row] = line
	t.col += w
}

// resize wraps what is there anew, as terminals do.
func (t *term) resize(width int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines [][]string
	for i, line := range t.lines {
		if i == t.row {
			t.row = len(lines)
		}
		for len(line) > width {
			lines = append(lines, line[:width:width])
			line = line[width:]
		}
		lines = append(lines, line)
	}
	t.lines, t.width = lines, width
}

func (t *term) columns() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.width
}

func (t *term) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, line := range t.lines {
		b.WriteString(strings.TrimRight(strings.Join(line, ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (t *term) troubles() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}
