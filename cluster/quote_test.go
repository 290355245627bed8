package cluster_test

import (
	"os/exec"
	"strings"
	"testing"

	"pvebot/cluster"
)

func FuzzQuote(f *testing.F) {
	for _, s := range []string{
		"", " ", "a", "a b", "'", "''", `\`, `"`, "$x", "$(x)", "`x`", "\n", "a\nb\n", "*", "~", "-n", "--", "#", "!", ";",
		"if", "FOO=bar", "\xff", "\xc3\xbc", "\r", "\t", "\x01", "a'b'c", `'\''`, "%s", "{a,b}", "&&", "|", ">x",
	} {
		f.Add(s, "x"+s, s+"'")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		words := []string{a, b, c}
		if strings.ContainsRune(a+b+c, 0) {
			t.Skip("no word can hold it")
		}
		argv := append([]string{"printf", `%s\0`}, words...)
		out, err := exec.Command("/bin/sh", "-c", cluster.Quote(argv)).Output()
		if want := strings.Join(words, "\x00") + "\x00"; err != nil || string(out) != want {
			t.Fatalf("%q became %q, %v", words, out, err)
		}
	})
}

// The first word is a command even if it looks like something else.
func TestQuoteFirstWord(t *testing.T) {
	for _, word := range []string{"if", "FOO=bar", "!", "{", "cd", "case"} {
		got := cluster.Quote([]string{word, "x"})
		out, _ := exec.Command("/bin/sh", "-c", got).CombinedOutput()
		if word != "cd" && !strings.Contains(string(out), "not found") {
			t.Errorf("%s was not taken for a command's name: %s", got, out)
		}
	}
}
