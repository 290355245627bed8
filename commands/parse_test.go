package commands

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pvebot/provision"
)

func install(count int, s provision.Install) Install { return Install{Spec: s, Count: count} }

// parsed is a line's request, or its mistake as text.
func parsed(t *testing.T, line string) (Request, *Mistake) {
	t.Helper()
	r, err := Parse(line)
	if err == nil {
		return r, nil
	}
	return nil, mistake(t, line, err)
}

// mistake is err as the type that all errors here have.
func mistake(t *testing.T, line string, err error) *Mistake {
	t.Helper()
	m, ok := errors.AsType[*Mistake](err)
	if !ok {
		t.Fatalf("%q: got %T, want *Mistake", line, err)
	}
	return m
}

func TestParse(t *testing.T) {
	ubuntu := provision.Install{OS: "ubuntu"}
	noble := provision.Install{OS: "ubuntu", Version: "24.04"}
	web := provision.Install{OS: "ubuntu", Name: "web"}
	keyed := provision.Install{OS: "ubuntu", Key: exampleKey}
	for _, tt := range []struct {
		line string
		want Request
	}{
		{"/vm install ubuntu", install(1, ubuntu)},
		{"vm install ubuntu", install(1, ubuntu)},
		{"install ubuntu", install(1, ubuntu)},
		{"@pvebot install ubuntu", install(1, ubuntu)},
		{"<@U12345> /vm INSTALL Ubuntu", install(1, ubuntu)},
		{"  /vm\n install\tubuntu\r\n", install(1, ubuntu)},
		{"```/vm install ubuntu```", install(1, ubuntu)},
		{"/vm install ubuntu 24.04", install(1, noble)},
		{"/vm install ubuntu24.04", install(1, noble)},
		{"/vm install ubuntu:24.04", install(1, noble)},
		{"/vm install ubuntu-24.04", install(1, noble)},
		{"/vm install ubuntu 24.04LTS", install(1, noble)},
		{"/vm install ubuntu noble", install(1, noble)},
		{"/vm install noble", install(1, noble)},
		{"/vm install debian:bookworm", install(1, provision.Install{OS: "debian", Version: "12"})},
		{"/vm install --cpu 4 ubuntu 24.04", install(1, provision.Install{OS: "ubuntu", Version: "24.04", Cores: 4})},

		{"/vm install ubuntu --name web", install(1, web)},
		{"/vm install ubuntu --name=web", install(1, web)},
		{"/vm install ubuntu --name = web", install(1, web)},
		{"/vm install ubuntu --name= web", install(1, web)},
		{"/vm install ubuntu --name =web", install(1, web)},
		{`/vm install ubuntu --name "web"`, install(1, web)},
		{`/vm install ubuntu --name='web'`, install(1, web)},
		{"/vm install ubuntu \u2014name \u201cweb\u201d", install(1, web)},
		{"/vm install ubuntu --name `web`", install(1, web)},
		{"/vm install ubuntu --Name web", install(1, web)},
		{"/vm install ubuntu --name <http://web.lab.io|web.lab.io>", install(1, provision.Install{OS: "ubuntu", Name: "web.lab.io"})},

		{"/vm install ubuntu --memory 4G", install(1, provision.Install{OS: "ubuntu", MemoryMB: 4096})},
		{"/vm install ubuntu --ram 2048", install(1, provision.Install{OS: "ubuntu", MemoryMB: 2048})},
		{"/vm install ubuntu --ram 1.5g", install(1, provision.Install{OS: "ubuntu", MemoryMB: 1536})},
		{"/vm install ubuntu --ram 16 GB --cpu 2", install(1, provision.Install{OS: "ubuntu", MemoryMB: 16384, Cores: 2})},
		{"/vm install ubuntu --ram 16GiB", install(1, provision.Install{OS: "ubuntu", MemoryMB: 16384})},
		{"/vm install ubuntu --disk 32", install(1, provision.Install{OS: "ubuntu", DiskMB: 32768})},
		{"/vm install ubuntu --disk 1T", install(1, provision.Install{OS: "ubuntu", DiskMB: 1 << 20})},
		{"/vm install ubuntu --id 190 --node pve2 --storage local-lvm --user alice", install(1, provision.Install{
			OS: "ubuntu", VMID: 190, Node: "pve2", Storage: "local-lvm", User: "alice",
		})},
		{"/vm install ubuntu --count 3 --name web", install(3, web)},
		{"/vm install ubuntu --count 1 --id 190", install(1, provision.Install{OS: "ubuntu", VMID: 190})},
		{"/vm install ubuntu --key " + exampleKey, install(1, keyed)},
		{"/vm install ubuntu --key " + exampleKey + " --cpu 2", install(1, provision.Install{OS: "ubuntu", Key: exampleKey, Cores: 2})},
		{`/vm install --key "` + exampleKey + `" ubuntu`, install(1, keyed)},
		{`/vm install ubuntu --key="` + exampleKey + `"`, install(1, keyed)},
		{"/vm install ubuntu --key " + strings.Replace(exampleKey, "me@laptop", "<mailto:me@laptop|me@laptop>", 1), install(1, keyed)},

		{"/vm list", List{}},
		{"/vm ls", List{}},
		{"/vm show web-1", Show{VM: "web-1"}},
		{"/vm show 101", Show{VM: "101"}},
		{"/vm jobs", Jobs{}},
		{"/vm nodes", Nodes{}},
		{"/vm images", Images{}},
		{"/vm cancel 12", Cancel{Job: 12}},
		{"/vm cancel #12", Cancel{Job: 12}},
		{"", Help{}},
		{"/vm", Help{}},
		{"@pvebot", Help{}},
		{"/vm help", Help{}},
		{"/vm ?", Help{}},
		{"/vm --help", Help{}},
		{"/vm help install", Help{Topic: "install"}},
		{"/vm install --help", Help{Topic: "install"}},
		{"/vm show \u2014help", Help{Topic: "show"}},
	} {
		got, m := parsed(t, tt.line)
		if m != nil {
			t.Errorf("%s: %s", tt.line, m.Say)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.line, d)
		}
		if again, m := parsed(t, Format(got)); m != nil || again != got {
			t.Errorf("%s: %s reads as %+v, %v", tt.line, Format(got), again, m)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ line, say, try, param string }{
		{"/vm install", "install wants OS: the operating system, like ubuntu or debian", "/vm install ubuntu", "os"},
		{"/vm install --cpu 4", "install wants OS: the operating system, like ubuntu or debian", "/vm install ubuntu --cpu 4", "os"},
		{"/vm install ubuntu --cpu lots", "--cpu wants a number from 1 to 512, got lots", "/vm install ubuntu --cpu 2", "cpu"},
		{"/vm install ubuntu --cpu 0", "--cpu wants a whole number from 1 to 512, got 0", "/vm install ubuntu --cpu 1", "cpu"},
		{"/vm install ubuntu --cpu -1", "--cpu wants a whole number from 1 to 512, got -1", "/vm install ubuntu --cpu 1", "cpu"},
		{"/vm install ubuntu --cpu 99999999999999999999", "--cpu wants a whole number from 1 to 512, got 99999999999999999999", "/vm install ubuntu --cpu 512", "cpu"},
		{"/vm install ubuntu --cpu", "--cpu wants a value, like 2", "/vm install ubuntu", "cpu"},
		{"/vm install ubuntu --name --cpu 4", "--name wants a value, like web-1", "/vm install ubuntu --cpu 4", "name"},
		{"/vm install ubuntu --ram 4", "--ram wants a size from 512M to 4T, got 4 (a number without a unit is MB)", "/vm install ubuntu --ram 4G", "ram"},
		{"/vm install ubuntu --ram 256M", "--ram wants a size from 512M to 4T, got 256M", "/vm install ubuntu --ram 512M", "ram"},
		{"/vm install ubuntu --ram plenty", "--ram wants a size like 4G, got plenty", "/vm install ubuntu --ram 4G", "ram"},
		{"/vm install ubuntu --disk 8G", "--disk wants a size from 16G to 128T, got 8G", "/vm install ubuntu --disk 16G", "disk"},
		{"/vm install ubuntu --disk 999999999", "--disk wants a size from 16G to 128T, got 999999999 (a number without a unit is GB)", "/vm install ubuntu --disk 128T", "disk"},
		{"/vm install ubuntu --disk 999999999T", "--disk wants a size from 16G to 128T, got 999999999T", "/vm install ubuntu --disk 128T", "disk"},
		{"/vm install ubuntu --count 21", "--count wants a whole number from 1 to 20, got 21", "/vm install ubuntu --count 20", "count"},
		{"/vm install ubuntu --count 2 --id 190", "--id is for one VM, and --count asks for 2", "/vm install ubuntu --count 2", "id"},
		{"/vm install ubuntu --id 99", "--id wants a whole number from 100 to 999999999, got 99", "/vm install ubuntu --id 100", "id"},
		{"/vm install ubuntu --cpus 2 --cpu 4", "--cpu is given twice", "/vm install ubuntu --cpu 2", "cpu"},
		{"/vm install ubuntu --nam web", "install has no flag --nam; did you mean --name?", "/vm install ubuntu --name web", ""},
		{"/vm install ubuntu --frobnicate 2", "install has no flag --frobnicate; it knows --name, --cpu, --ram, --disk, --node, --storage, --network, --user, --key, --password, --id, --count, --ttl, --dry-run", "/vm install ubuntu", ""},
		{"/vm install ubuntu -cpu 4", "a flag begins with two dashes: --cpu", "/vm install ubuntu --cpu 4", "cpu"},
		{"/vm install ubuntu cpu=4", "a flag begins with two dashes: --cpu", "/vm install ubuntu --cpu 4", "cpu"},
		{"/vm install ubuntu 24.04 web", "web is one word too many: it goes install OS [VERSION] [--name NAME] [--cpu N] [--ram SIZE] [--disk SIZE] [--node NODE] [--storage STORAGE] [--network NAME] [--user USER] [--key KEY] [--password] [--id N] [--count N] [--ttl TIME] [--dry-run]", "/vm install ubuntu 24.04", ""},
		{"/vm install ubuntu --name 190", "--name can't be just a number, got 190: that would look like an id", "/vm install ubuntu --name vm-190", "name"},
		{"/vm install ubuntu --name my_web", "--name wants a DNS name like web-1, with letters, digits and inner dashes, got my_web", "/vm install ubuntu --name my-web", "name"},
		{`/vm install ubuntu --name "my web"`, `--name wants a DNS name like web-1, with letters, digits and inner dashes, got "my web"`, "/vm install ubuntu --name my-web", "name"},
		{"/vm install ubuntu --user Alice", "--user wants a login name: lower-case letters, digits, - and _, at most 32, got Alice", "/vm install ubuntu --user alice", "user"},
		{`/vm install ubuntu --name "web`, `a quote is not closed: "`, "/vm install ubuntu --name web", ""},
		{`/vm install ubuntu --name "web"1`, "there must be a space after a closing quote", "/vm install ubuntu 1 --name web", ""},
		{"/vm install ubuntu --key hello", "--key wants an SSH public key, the line in ~/.ssh/id_ed25519.pub (ssh-ed25519 AAAA...)", "/vm install ubuntu", "key"},
		{`/vm install ubuntu --key 'command="id" ` + exampleKey + "'", "--key takes a key without options: begin with ssh-ed25519", `/vm install ubuntu --key "` + exampleKey + `"`, "key"},
		{"/vm instal ubuntu --cpu 4", "there is no command instal; did you mean install?", "/vm install ubuntu --cpu 4", ""},
		{"/vm isntall", "there is no command isntall; did you mean install?", "/vm install ubuntu", ""},
		{"/vm frobnicate", "there is no command frobnicate", "/vm help", ""},
		{"/vm show", "show wants VM: the VM, by name or id", "/vm show web-1", "vm"},
		{"/vm list --all", "list takes no flags, got --all", "/vm list", ""},
		{"/vm list web", "web is one word too many: it goes list", "/vm list", ""},
		{"/vm cancel soon", "JOB wants a job's number as in /vm jobs, got soon", "/vm cancel 12", "job"},
		{"/vm start", "start wants VM: the VM, by name or id", "/vm start web-1", "vm"},
		{"/vm destory web-9", "there is no command destory; did you mean destroy?", "/vm destroy web-9", ""},
		{"/vm destroy web-1 --detached=maybe", "--detached is a switch and takes no value, got maybe", "/vm destroy web-1 --detached", "detached"},
		{"/vm set web-1", "set wants something to change: --cpu, --ram or --disk", "/vm set web-1 --cpu 4", "cpu"},
		{"/vm set web-1 --disk 20G", "--disk grows by a size with a plus before it, like +20G, got 20G", "/vm set web-1 --disk +20G", "disk"},
		{"/vm set web-1 --disk -5G", "--disk can only grow, by a size like +20G, got -5G", "/vm set web-1 --disk +20G", "disk"},
		{"/vm set web-1 --disk virtio1:20G", "--disk grows by a size with a plus before it, like +20G, got 20G", "/vm set web-1 --disk virtio1:+20G", "disk"},
		{"/vm set web-1 --disk virtio1:-5G", "--disk can only grow, by a size like +20G, got -5G", "/vm set web-1 --disk virtio1:+20G", "disk"},
		{"/vm set web-1 --disk disk1:+5G", "--disk names the disk that grows like virtio1:+20G, got disk1:+5G", "/vm set web-1 --cpu 4", "disk"},
		{"/vm set web-1 --disk scsi0:scsi1:+5G", "--disk wants a size like 20G, got scsi1:+5G", "/vm set web-1 --disk scsi0:+20G", "disk"},
		{"/vm set web-1 --disk +much", "--disk wants a size like 20G, got much", "/vm set web-1 --disk +20G", "disk"},
		{"/vm set web-1 --disk +1M", "--disk wants a size from 1G to 128T, got 1M", "/vm set web-1 --disk +1G", "disk"},
		{"/vm migrate web-1", "migrate wants NODE: the node to move it to", "/vm migrate web-1 pve2", "node"},
		{"/vm migrate web-1 pve2 --online --offline", "--online and --offline exclude each other", "/vm migrate web-1 pve2", "offline"},
		{"/vm migrate web-1 -node pve2", "a flag begins with two dashes: --node", "/vm migrate web-1 pve2", "node"},
		{"/vm migrate web-1 pve2 --node pve3", "NODE is given twice", "/vm migrate web-1 pve2", "node"},
		{"/vm snapshot web-1 1st", "NAME wants a snapshot's name like before-upgrade: a letter, then up to 39 letters, digits, - and _, got 1st", "/vm snapshot web-1 before-upgrade", "name"},
		{"/vm rollback web-1 current", "NAME wants a snapshot's name like before-upgrade: a letter, then up to 39 letters, digits, - and _, got current", "/vm rollback web-1 before-upgrade", "name"},
		{"/vm extend web-1", "extend wants TIME: how much longer, like 12h, 7d or 2w", "/vm extend web-1 7d", "time"},
		{"/vm extend web-1 5m", "TIME wants a time from 1h to 365d, got 5m", "/vm extend web-1 7d", "time"},
		{"/vm extend web-1 -7d", "TIME wants a time like 12h, 7d or 2w, got -7d", "/vm extend web-1 7d", "time"},
		{"/vm can bob destroy web-1", "WHO wants a mention, or PLATFORM/ID like slack/U012ABC, got bob", "/vm can @bob destroy web-1", "who"},
		{"/vm can @bob destroy", "can wants VM: whose matters when it is about destroy", "/vm can @bob destroy web-1", "vm"},
		{"/vm can @bob install web-1", "install is about no VM that exists", "/vm can @bob install", "vm"},
		{"/vm can @bob destory web-1", "VERB wants a command, and there is no destory; did you mean destroy?", "/vm can @bob destroy web-1", "verb"},
		{"/vm audit \"@a b\"", "ABOUT wants a mention, or PLATFORM/ID like slack/U012ABC, got \"@a b\"", "/vm audit web-1", "about"},
		{"/vm help instal", "VERB wants a command, and there is no instal; did you mean install?", "/vm help install", "verb"},
		{"/vm install ubuntu\x00", "the line has an invisible or broken character in it, U+0000; please type it again", "/vm install ubuntu", ""},
		{"/vm install ubuntu \xff", "the line has an invisible or broken character in it, U+FFFD; please type it again", "/vm install ubuntu", ""},
	} {
		r, m := parsed(t, tt.line)
		if m == nil {
			t.Errorf("%s: got %+v, want a mistake", tt.line, r)
			continue
		}
		if m.Say != tt.say || m.Try != tt.try || m.Param != tt.param {
			t.Errorf("%s:\n got %s\n     %s (%s)\nwant %s\n     %s (%s)", tt.line, m.Say, m.Try, m.Param, tt.say, tt.try, tt.param)
		}
		holdsTry(t, tt.line, m)
	}
}

// holdsTry: what a mistake proposes is right, and is written the one way.
func holdsTry(t *testing.T, line string, m *Mistake) {
	t.Helper()
	r, err := Parse(m.Try)
	if err != nil {
		t.Errorf("%q: proposes %q, which is wrong too: %v", line, m.Try, err)
		return
	}
	if m.Try != Format(r) {
		t.Errorf("%q: proposes %q, and its one spelling is %q", line, m.Try, Format(r))
	}
	if m.Say == "" {
		t.Errorf("%q: says nothing", line)
	}
}

// What a form starts with is what was understood.
func TestMistakeFields(t *testing.T) {
	_, m := parsed(t, "/vm install --cpu 4 --name web")
	if !m.Missing || m.Param != "os" || m.Verb != "install" {
		t.Errorf("got %+v, want: os is missing", m)
	}
	if d := cmp.Diff(Fields{"cpu": "4", "name": "web"}, m.Fields); d != "" {
		t.Error(d)
	}
	if _, m := parsed(t, "/vm install --cpu lots"); m.Missing || m.Param != "cpu" {
		t.Errorf("got %+v, want: the number is wrong", m)
	}
}

// Shell metacharacters are refused, in words, not cleaned away.
func TestParseRefusesMetacharacters(t *testing.T) {
	for _, bad := range []string{"a;id", "$(id)", "a`id`", "a|b", "a&b", "a>b", "../x", "a\\b", "a'b", "caf\u00e9", "a%b", "{a,b}", "~root", "-x;"} {
		for _, flag := range []string{"name", "node", "storage", "user", "id", "cpu", "ram", "key"} {
			line := `/vm install ubuntu --` + flag + ` "` + strings.ReplaceAll(bad, `\`, `\\`) + `"`
			r, m := parsed(t, line)
			if m == nil {
				t.Errorf("%s: got %+v, want a mistake", line, r)
				continue
			}
			if m.Param != flag {
				t.Errorf("%s: complains about %q: %s", line, m.Param, m.Say)
			}
			holdsTry(t, line, m)
		}
		word := `"` + strings.ReplaceAll(bad, `\`, `\\`) + `"`
		for _, head := range []string{"show", "start", "destroy", "set --cpu 2", "migrate web-1", "migrate --storage ceph", "migrate web-1 pve2 --storage", "snapshot web-1", "rollback web-1", "clone web-1", "clone", "extend web-1", "adopt", "trust", "drain", "can", "can @bob show", "audit"} {
			if r, m := parsed(t, "/vm "+head+" "+word); m == nil {
				t.Errorf("%s %s: got %+v", head, bad, r)
			}
		}
	}
}

func TestParseLongLine(t *testing.T) {
	_, m := parsed(t, "/vm install ubuntu --name "+strings.Repeat("a", 1<<20))
	if m == nil || m.Say != "that line has 1048602 characters, and I read at most 4000" {
		t.Errorf("got %+v", m)
	}
}

func TestParsePrivateKey(t *testing.T) {
	for _, line := range []string{
		"/vm install ubuntu --key -----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjEAAAAA",
		"/vm install ubuntu --key \u2014\u2014BEGIN\u00a0RSA PRIVATE\u00a0KEY\u2014\u2014 MIIE",
		"/vm install ubuntu --key b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
		"/vm install --key PuTTY-User-Key-File-3: ssh-ed25519",
		"/vm install ubuntu --key 'private key' " + strings.Repeat("x", MaxLine),
		"-----BEGIN PRIVATE KEY-----",
	} {
		_, m := parsed(t, line)
		if m == nil || !m.Secret {
			t.Errorf("%.60s: got %+v, want a secret", line, m)
			continue
		}
		holdsTry(t, line, m)
		if len(m.Fields) > 0 {
			t.Errorf("%.60s: keeps %v", line, m.Fields)
		}
	}
	_, err := Build("install", Fields{"os": "ubuntu", "key": "-----BEGIN RSA PRIVATE KEY-----"})
	if m := mistake(t, "a form", err); !m.Secret || m.Param != "key" || len(m.Fields) > 0 {
		t.Errorf("a form's private key: %+v", m)
	}
}

func TestParsePassword(t *testing.T) {
	for _, line := range []string{
		"/vm install ubuntu --password hunter2",
		"/vm install ubuntu --cpu lots --passwd=hunter2",
		"/vm install ubuntu -pass 'hunter2'",
		"/vm install ubuntu password=hunter2",
		"/vm install --password hunter2 ubuntu",
		"/vm install ubuntu --password=yes",
		"/vm install ubuntu --password 'hunter2' --cpu 2",
		`/vm install Password="hunter2"`,
		"/vm instal ubuntu --password hunter2",
		"/vm frobnicate --password hunter2",
		"/vm list --password hunter2",
	} {
		_, m := parsed(t, line)
		if m == nil || !m.Secret || strings.Contains(fmt.Sprintf("%+v", m), "hunter2") {
			t.Errorf("%s: got %+v, want a secret that is not repeated", line, m)
			continue
		}
		holdsTry(t, line, m)
	}
}

// A password can be asked for, but not given.
func TestParsePasswordWanted(t *testing.T) {
	for _, line := range []string{"/vm install ubuntu --password", "/vm install --password --cpu 2 ubuntu", "/vm install ubuntu --cpu 2 --password"} {
		r, m := parsed(t, line)
		if got, ok := r.(Install); m != nil || !ok || !got.Password || got.Spec.PasswordHash != "" {
			t.Errorf("%s: got %+v, %+v", line, r, m)
		}
	}
	if r, err := Build("install", Fields{"os": "ubuntu", "password": "yes"}); err != nil || !r.(Install).Password {
		t.Errorf("a form: %+v, %v", r, err)
	}
	_, err := Build("install", Fields{"os": "ubuntu", "password": "hunter2"})
	if m := mistake(t, "a form", err); !m.Secret || len(m.Fields) > 0 || strings.Contains(m.Say, "hunter2") {
		t.Errorf("a form's password: %+v", m)
	}
}

func TestBuild(t *testing.T) {
	got, err := Build("install", Fields{"os": "Ubuntu", "version": "noble", "cpu": "2", "name": "", "key": exampleKey})
	want := install(1, provision.Install{OS: "ubuntu", Version: "24.04", Cores: 2, Key: exampleKey})
	if err != nil || got != Request(want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, tt := range []struct {
		verb   string
		fields Fields
		param  string
		say    string
	}{
		{"install", nil, "os", "install wants OS: the operating system, like ubuntu or debian"},
		{"install", Fields{"os": "ubuntu", "color": "red"}, "color", "install has no field color"},
		{"install", Fields{"os": "ubuntu", "ram": "1"}, "ram", "--ram wants a size from 512M to 4T, got 1 (a number without a unit is MB)"},
		{"install", Fields{"os": "ubuntu", "name": "a\x00"}, "name", "the line has an invisible or broken character in it, U+0000; please type it again"},
		{"shwo", Fields{"vm": "1"}, "", "there is no command shwo; did you mean show?"},
	} {
		_, err := Build(tt.verb, tt.fields)
		m := mistake(t, tt.say, err)
		if m.Param != tt.param || m.Say != tt.say {
			t.Errorf("%s %v: got %+v", tt.verb, tt.fields, err)
			continue
		}
		holdsTry(t, tt.say, m)
	}
}

var lines = []string{
	"/vm set web-1 --disk +20G --ram 1.5G", "/vm set web-1 --disk virtio1:+20G", "/vm migrate --node pve2 web-1 --online --storage ceph", "/vm can <@U1> migrate web-1 --node pve2", "/vm audit slack/U1",
	"/vm snapshot web-1 --name before-1", "/vm extend web-1 2w", "/vm destroy 101 --detached --dry-run", "/vm clone web-1 web-2", "/vm drain pve2",
	"/vm install ubuntu 24.04 --name web-1 --cpu 4 --ram 8G --disk 64G --count 2",
	"/vm install debian:bookworm --key " + exampleKey + " --id 190",
	"/vm list --cluster taipei", "<@U1|bot> show <http://web.lab.io|web.lab.io>", "/vm cancel #12", "vm help install",
	"/vm install ubuntu \u2014ram \u201c16 GB\u201d", `install "a\"b" --name='x y' --cpu=-1`, "/vm instal u --nam x --cpu --cpu 3",
	"&amp;lt; `x` **y** -\u2013z", "", "/vm install ubuntultslts-lts ltslts", "/vm install a:b:c", "/vm install noble x",
}

func FuzzParse(f *testing.F) {
	for _, line := range lines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := Parse(line)
		if err != nil {
			holdsTry(t, line, mistake(t, line, err))
			return
		}
		again, err := Parse(Format(r))
		if err != nil || again != r {
			t.Errorf("%q: %q reads as %+v, %v; want %+v", line, Format(r), again, err, r)
		}
	})
}
