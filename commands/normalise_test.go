package commands

import (
	"testing"
	"unicode/utf8"
)

func TestNormalise(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"install  ubuntu\n\t--cpu 2 ", "install ubuntu --cpu 2"},
		{"install\u00a0ubuntu\u202f\u3000x", "install ubuntu x"},
		{"ins\u200btall\ufeff ubun\u00adtu\u2060", "install ubuntu"},
		{"\u2066install\u2069", "install"},
		{"\uff49\uff4e\uff53\uff54\uff41\uff4c\uff4c \uff0d\uff0dcpu \uff14", "install --cpu 4"},
		{"\u2014name web", "--name web"},
		{"\u2013name web", "--name web"},
		{"\u2212name \u2012name \u2015name \u2014\u2014name", "--name --name --name --name"},
		{"-\u2013name", "--name"},
		{"\u2014m", "-m"},
		{"--cpu \u22121", "--cpu -1"},
		{"\u2014 x", "\u2014 x"},
		{"pve\u201301", "pve\u201301"},
		{"\"a \u2014name b\"", "\"a \u2014name b\""},
		{"--note \u201ca b\u201d \u2018c\u2019", "--note \"a b\" 'c'"},
		{"it\u2019s \u2014name web", "it's --name web"},
		{"pve\u201101", "pve-01"},
		{"<@U012ABC|alice> <@U012ABC> <@!123> <@&456>", "@U012ABC @U012ABC @123 @456"},
		{"<#C1|ops> <#C1|> <#C1>", "#ops #C1 #C1"},
		{"<!subteam^S1|@ops> <!here>", "@S1 @here"},
		{"<http://web.lab.io|web.lab.io> <http://h/|h>", "web.lab.io h"},
		{"<https://x.org/a> <https://x.org|click here>", "https://x.org/a https://x.org"},
		{"<mailto:a@b.c|a@b.c> <tel:+4912|+4912>", "a@b.c +4912"},
		{"a &lt;b&gt; &amp;&amp; c", "a <b> && c"},
		{"&amp;lt;", "<"},
		{"&nbsp;", "&nbsp;"},
		{"show `web`", "show web"},
		{"```/vm list```", "/vm list"},
		{"```\n/vm list\n```", "/vm list"},
		{"/vm `install ubuntu` --cpu 2", "/vm install ubuntu --cpu 2"},
		{"--name=`web` *bold* **b c**", "--name=web bold b c"},
		{"a`id` a*b `open", "a`id` a*b `open"},
		{"\"`a`\"", "\"`a`\""},
		{"--name \u201c`web`\u201d", "--name \"`web`\""},
		{"\xff", "\uFFFD"},
		{"a\x00b", "a\x00b"},
	} {
		if got := Normalise(tt.in); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.in, got, tt.want)
		}
	}
}

func FuzzNormalise(f *testing.F) {
	for _, line := range lines {
		f.Add(line)
	}
	f.Add("<http://<http://a|b>|<@U1>> &amp;amp;lt;@U&gt; e\u200b\u0301 \"\\\"`x` \\\" `")
	f.Fuzz(func(t *testing.T, s string) {
		once := Normalise(s)
		if !utf8.ValidString(once) {
			t.Errorf("%q became %q, not UTF-8", s, once)
		}
		if twice := Normalise(once); twice != once {
			t.Errorf("%q became %q, and that %q", s, once, twice)
		}
	})
}
