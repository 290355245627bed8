package commands

import (
	"strconv"
	"strings"
	"time"

	"pvebot/provision"
)

// codenames are the words that stand for an OS with its version.
var codenames = map[string][2]string{
	"focal":    {"ubuntu", "20.04"},
	"jammy":    {"ubuntu", "22.04"},
	"noble":    {"ubuntu", "24.04"},
	"bullseye": {"debian", "11"},
	"bookworm": {"debian", "12"},
	"trixie":   {"debian", "13"},
}

func buildInstall(v values) (Request, *Mistake) {
	os, version := v.text("os"), v.text("version")
	if version == "" {
		os, version = splitOS(os)
	}
	if c, ok := codenames[version]; ok && c[0] == os {
		version = c[1]
	}
	r := Install{
		Spec: provision.Install{
			OS: os, Version: version,
			Name:     v.text("name"),
			Cores:    int(v.num("cpu")),
			MemoryMB: int(v.num("ram")),
			DiskMB:   v.num("disk"),
			Node:     v.text("node"),
			Storage:  v.text("storage"),
			Network:  v.text("network"),
			User:     v.text("user"),
			Key:      v.text("key"),
			VMID:     int(v.num("id")),
			TTL:      time.Duration(v.num("ttl")) * time.Second,
		},
		Count:  max(1, int(v.num("count"))),
		DryRun: v.yes("dry-run"), Password: v.yes("password"),
	}
	if r.Count > 1 && r.Spec.VMID != 0 {
		fix := installFields(r)
		delete(fix, "id")
		return nil, &Mistake{Say: "--id is for one VM, and --count asks for " + strconv.Itoa(r.Count), Param: "id", fix: fix}
	}
	return r, nil
}

func installFields(r Request) Fields {
	in := r.(Install)
	s := in.Spec
	f := Fields{
		"os": s.OS, "version": s.Version, "name": s.Name,
		"cpu": number(int64(s.Cores)), "ram": Size(int64(s.MemoryMB)), "disk": Size(s.DiskMB),
		"node": s.Node, "storage": s.Storage, "network": s.Network, "user": s.User, "key": s.Key,
		"id": number(int64(s.VMID)), "dry-run": yes(in.DryRun), "password": yes(in.Password),
	}
	if s.TTL > 0 {
		f["ttl"] = seconds(int64(s.TTL / time.Second))
	}
	if in.Count > 1 {
		f["count"] = number(int64(in.Count))
	}
	return given(f)
}

// splitOS takes words like ubuntu24.04, ubuntu:24.04, ubuntu-24.04 and noble
// apart. A word that is just an OS has no version.
func splitOS(word string) (os, version string) {
	if c, ok := codenames[word]; ok {
		return c[0], c[1]
	}
	i := strings.IndexAny(word, "0123456789:-")
	if i <= 0 {
		return word, ""
	}
	version = cleanVersion(strings.TrimLeft(word[i:], ":-"))
	if !versionRE.MatchString(version) {
		return word, ""
	}
	return word[:i], version
}

// cleanVersion drops the LTS that people write after a version.
func cleanVersion(version string) string {
	for {
		v := strings.TrimRight(strings.TrimSuffix(version, "lts"), "-")
		if v == version {
			return v
		}
		version = v
	}
}

// number is n as a field: nothing when it is not set.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
