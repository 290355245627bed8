package provision

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

const (
	// maxPassword keeps the hashing cheap.
	maxPassword = 128 // bytes
	// hashRounds is what a guess costs whoever has the hash.
	hashRounds = 100_000
)

// HashPassword is the password as /etc/shadow has it ($6$, SHA-512). Front
// doors call it as soon as somebody hands them one: from there on nobody knows
// the password itself. The error is an *Error of kind Invalid.
func HashPassword(password string) (Secret, error) {
	switch {
	case password == "" || len(password) > maxPassword:
		return "", Errorf(Invalid, "a password has 1 to %d bytes", maxPassword)
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return "", Errorf(Invalid, "the password has a line break or an invisible character in it")
	}
	h, err := shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(hashRounds))
	if err != nil {
		return "", err
	}
	digest, err := h.Hash(password)
	if err != nil {
		return "", err
	}
	return Secret(digest.Encode()), nil
}
