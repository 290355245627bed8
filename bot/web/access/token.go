package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// Token lets a program in. Only the hash of its text is kept, so that nothing
// can show it.
type Token struct {
	Name string // the actor is http/NAME
	Role string // of the policy
	sum  [sha256.Size]byte
}

// minToken is how long a token's text is at least: 128 bits in hex are 32.
const minToken = 20

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,31}$`)

// ParseTokens reads API_TOKENS: NAME:ROLE:TEXT, separated by commas. The text
// may contain colons, but neither commas nor blanks. The errors never contain
// one.
func ParseTokens(list string) ([]Token, error) {
	var tokens []Token
	for i, item := range split(list) {
		name, rest, _ := strings.Cut(item, ":")
		role, text, ok := strings.Cut(rest, ":")
		wrong := func(format string, a ...any) error {
			return fmt.Errorf("API_TOKENS: token %d: "+format, append([]any{i + 1}, a...)...)
		}
		switch {
		case !ok:
			return nil, wrong("write NAME:ROLE:TOKEN, like ci:ops:5d41402abc4b2a76b9719d911017c592")
		case !nameRE.MatchString(name) || name == localID || name == legacyID:
			return nil, wrong("it can't have this name: lower-case letters, digits, - and _, but not %s or %s", localID, legacyID)
		case role == "":
			return nil, wrong("%s has no role", name)
		case len(text) < minToken || strings.ContainsAny(text, " \t\r\n"):
			return nil, wrong("the token of %s is too short, or has blanks in it: at least %d characters, like those of `openssl rand -hex 16`", name, minToken)
		}
		t := NewToken(name, role, text)
		if slices.ContainsFunc(tokens, func(u Token) bool { return u.Name == name || u.sum == t.sum }) {
			return nil, wrong("%s has its name or its text from another one", name)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// NewToken is the token of text.
func NewToken(name, role, text string) Token {
	return Token{Name: name, Role: role, sum: sha256.Sum256([]byte(text))}
}

// String implements fmt.Stringer.
func (t Token) String() string { return t.Name + " (" + t.Role + ")" }

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return "access.Token{" + t.String() + "}" }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// match finds the token of text. It takes the same time for all of them.
func match(tokens []Token, text string) (Token, bool) {
	sum := sha256.Sum256([]byte(text))
	found := -1
	for i, t := range tokens {
		if subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, false
	}
	return tokens[found], true
}

// split cuts a list at commas and blanks.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}
