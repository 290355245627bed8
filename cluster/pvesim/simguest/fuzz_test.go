package simguest

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Whatever is typed, the guest answers or is stopped by the caller's context,
// and stands as before.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		"echo a | cat >f; cat f", "apt-get -y install git", "sudo -n -- bash -s", "cd /; ls | head -n 1",
		"dd of=x bs=1K count=1", "ln -s a b; cat b", "mv / /x; rm -rf /", "systemctl --now enable ssh",
		"date +%s; stat -c %a /; grep -c x /etc/passwd", "install -D /dev/stdin a/b <<E\nx\nE", "case x in *) ;; esac",
		"xBb YnX9Yl&0000000000\x9b0", "exit 3 <<E", // the parser speaks on after it was stopped
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		g, _ := newGuest(t, nil)
		g.Boot()
		enough := errors.New("long enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, enough)
		defer cancel()
		if _, _, err := g.Run(ctx, line); err != nil && !errors.Is(err, enough) && !errors.Is(err, errOff) {
			t.Errorf("%q: %v", line, err)
		}
	})
}
