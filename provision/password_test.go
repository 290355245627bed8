package provision

import (
	"strings"
	"testing"
)

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword("correct horse")
	if err != nil || !cryptHash.MatchString(string(hash)) || !strings.HasPrefix(string(hash), "$6$rounds=100000$") {
		t.Errorf("it became %q, %v", string(hash), err)
	}
	if again, _ := HashPassword("correct horse"); again == hash {
		t.Error("two passwords have one salt")
	}
	for _, bad := range []string{"", "a\nb", "a\x00b", "\xff", strings.Repeat("a", maxPassword+1)} {
		if hash, err := HashPassword(bad); KindOf(err) != Invalid || hash != "" {
			t.Errorf("%q: %q, %v", bad, string(hash), err)
		}
	}
}
