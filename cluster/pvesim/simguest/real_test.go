package simguest

import (
	"os/exec"
	"testing"
)

// The guest's programs do what the real ones do, as far as both can be asked.
func TestLikeTheRealOnes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	for _, line := range []string{
		"echo a >f; cat f f; cat <f; cat none || echo $?",
		"printf '1\\n2\\n3\\n' >f; head -n 1 f; tail -n2 f; wc -l <f; tail -n 5 f",
		"printf 'ab\\nb\\n' | grep b; printf 'a.c\\nabc\\n' >f; grep -F a.c f; grep -qxF abc f; echo $?; grep -c a f; grep -v b f; grep zz f; echo $?",
		"grep -q a none; echo $?; grep -qs a none; echo $?",
		"mkdir d; mkdir d || echo again; mkdir -p d/e/f; ls d; echo x >d/e/g; ls d/e; rm d || echo no; rm -rf d; test -e d; echo $?; rm -f none; echo $?",
		"echo a >f; mv f g; cat g; test -e f; echo $?; mkdir d; mv g d; cat d/g; cp d/g h; cat h; cp h d; ls d",
		"mkdir -p a/b; echo x >a/b/c; mv a z; cat z/b/c; ls",
		"echo 1 >f; ln -s f l; cat l; readlink l; echo 2 >l; cat f; ln -s f l || echo taken; ln -sf none l; cat l || echo broken; [ -L l ] && echo link",
		"install -m 0600 /dev/null f; stat -c '%a %s' f; install -m 0644 /dev/stdin g <<'E'\nhello\nE\ncat g; stat -c %a g; install -d -m 0700 d; stat -c %a d; install -D f x/y/z; ls x/y",
		"echo a | tee f g; echo b | tee -a f; cat f g",
		"echo abc >f; chmod 0640 f; stat -c %a f; touch f; cat f; touch n; stat -c %s n",
		"echo a >>f; echo b >>f; cat f; echo c >f; cat f; : >f; wc -c <f",
		"basename /a/b; dirname /a/b; env -i A=1 env; A=2 env | grep ^A=",
		"shopt -s nullglob; echo *; touch b a; echo *; echo none*; for f in *; do echo $f; done",
		"set -e; false || echo kept; (exit 3) || echo $?; trap 'echo bye' EXIT; false; echo never",
		"f() { local x=1; echo $x $# \"$2\"; return 4; }; f a 'b c'; echo $?",
		"x=$(echo sub); echo \"${x:-d} ${y:-d} ${#x}\"; case $x in s*) echo yes ;; esac; echo $((2*21))",
		"cd /tmp && pwd; cd / && pwd -P; command -v cat >/dev/null && echo found; command -v none-such || echo none",
		"id -u >/dev/null && sleep 0 && true && date +%s >/dev/null && echo ok; uname",
		"bash -c 'echo $1' zero one; echo 'echo in $1' | bash -s x; sh -c 'exit 9'; echo $?",
		"dd if=/dev/zero of=f bs=1K count=3 2>/dev/null; stat -c %s f; fallocate -l 2M g; stat -c %s g",
		"cat <<E | grep -c .\n$((1+1))\nb\nE\nread -r a b <<<'1 2 3'; echo $b",
	} {
		real := exec.Command(bash, "-c", line)
		real.Dir = t.TempDir()
		real.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		want, err := real.Output() // what the program has to say is compared, not how it complains
		if real.ProcessState == nil {
			t.Fatal(err)
		}
		g, _ := newGuest(t, nil)
		g.Boot()
		got, status, err := g.Run(t.Context(), "{ "+line+"\n} 2>/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) || status != real.ProcessState.ExitCode() {
			t.Errorf("%s\nis in the guest (status %d)\n%s\nand really (status %d)\n%s", line, status, got, real.ProcessState.ExitCode(), want)
		}
	}
}
