package cluster_test

import (
	"testing"

	"pvebot/cluster"
)

func TestShown(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"qm", "start", "101"}, "qm start 101"},
		{[]string{"qm", "create", "101", "--cipassword", "$6$salt$hash", "--name", "web-1"}, "qm create 101 --cipassword [hidden] --name web-1"},
		{[]string{"qm", "set", "101", "--description", "one\ntwo\x1b[2J", "--name", ""}, `qm set 101 --description "one\ntwo\x1b[2J" --name ""`},
		{[]string{"sh", "-c", "a long\nscript", "download", "/var/lib", "x.img"}, "download /var/lib x.img"},
		{[]string{"sh", "-c", "true"}, "sh -c true"},
	} {
		if got := cluster.Shown(tt.argv); got != tt.want {
			t.Errorf("%q is shown as %s, want %s", tt.argv, got, tt.want)
		}
	}
}
