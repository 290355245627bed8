package cluster

import "testing"

func TestCPUsOfAVM(t *testing.T) {
	for name, tt := range map[string]struct {
		options     map[string]string
		count, most int
		says        string
	}{
		"nothing is set":        {nil, 1, 1, "1 CPUs"},
		"cores":                 {map[string]string{"cores": "4"}, 4, 4, "4 CPUs"},
		"sockets":               {map[string]string{"sockets": "2"}, 2, 2, "2 CPUs (2 sockets of 1)"},
		"both":                  {map[string]string{"cores": "3", "sockets": "2"}, 6, 6, "6 CPUs (2 sockets of 3)"},
		"some are plugged":      {map[string]string{"cores": "4", "sockets": "2", "vcpus": "3"}, 3, 8, "3 of 8 CPUs"},
		"more than there are":   {map[string]string{"cores": "2", "vcpus": "8"}, 2, 2, "2 of 2 CPUs"},
		"an old configuration":  {map[string]string{"smp": "4"}, 4, 4, "4 CPUs (4 sockets of 1)"},
		"sockets win over smp":  {map[string]string{"smp": "4", "sockets": "2"}, 2, 2, "2 CPUs (2 sockets of 1)"},
		"no number":             {map[string]string{"cores": "many", "sockets": "-1"}, 1, 1, "1 CPUs"},
		"more than an int64 is": {map[string]string{"cores": "4294967296", "sockets": "4294967296"}, mostCPUs * mostCPUs, mostCPUs * mostCPUs, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := VMConfig{Options: tt.options}.CPUs()
			if n.Count() != tt.count || n.Most() != tt.most || tt.says != "" && n.String() != tt.says {
				t.Errorf("%+v: %d of %d, %q; want %d of %d, %q", n, n.Count(), n.Most(), n, tt.count, tt.most, tt.says)
			}
		})
	}
	two := VMCPUs{Sockets: 2, Cores: 4}
	if cores, ok := two.CoresFor(6); !ok || cores != 3 {
		t.Errorf("6 CPUs on two sockets: %d cores, %v", cores, ok)
	}
	if _, ok := two.CoresFor(3); ok {
		t.Error("3 CPUs on two sockets are said to be possible")
	}
}

func TestConfigOfASnapshot(t *testing.T) {
	const file = "#a VM\ncores: 1\nparent: b\n\n[PENDING]\ncores: 3\n\n[a]\n#before\ncores: 8\nsockets: 2\nsnaptime: 1\n\n[b]\ncores: 4\r\n\n[special:cloudinit]\nname: x\n"
	for name, want := range map[string]string{"a": "16 CPUs (2 sockets of 8)", "b": "4 CPUs"} {
		if c, ok := decodeSnapshot([]byte(file), "pve1", 101, name); !ok || c.CPUs().String() != want {
			t.Errorf("%s: %v, %s; want %s", name, ok, c.CPUs(), want)
		}
	}
	if c, ok := decodeSnapshot([]byte(file), "pve1", 101, "c"); ok {
		t.Errorf("a snapshot that is not there has %s", c.CPUs())
	}
	if c := decodeConfig([]byte(file), "pve1", 101); c.CPUs().Count() != 1 || c.Description != "a VM" {
		t.Errorf("the VM has %s, and is described as %q", c.CPUs(), c.Description)
	}
}
