package provision

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/provision/guest"
)

// A guest's host key is pinned at first contact. Trust takes another in its
// place: the one that people saw and compared, and no other.

func (k *kit) prepareTrust(ctx context.Context, s Trust) (Spec, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	ref, c, err := k.same(ctx, s.VM)
	if err != nil {
		return nil, err
	}
	s.VM = ref
	s.VM.UUID = c.UUID()
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	switch {
	case err != nil:
		return nil, err
	case !known || !r.reachable(c):
		return nil, Errorf(Conflict, "I know no way into %s, so I remember no host key of it", ref)
	case r.HostKey == "":
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("I remember no host key of %s yet: I take the one that it shows first", ref), Try: fmt.Sprintf("vm start %d", ref.VMID)}
	}
	status, err := k.cluster.Status(ctx, ref.Node, ref.VMID)
	if err != nil {
		return nil, unreachable(ref.String(), err)
	}
	if status != "running" {
		return nil, &Error{Kind: Conflict, Say: fmt.Sprintf("%s does not run, so it shows no host key", ref), Try: fmt.Sprintf("vm start %d", ref.VMID)}
	}
	shown, err := k.shownKey(ctx, ref, r)
	switch {
	case err != nil:
		return nil, err
	case shown == r.HostKey:
		return nil, Errorf(Conflict, "%s shows the host key that I know: %s", ref, fingerprint(shown))
	case s.HostKey != "" && s.HostKey != shown:
		return nil, anotherKey(s, shown)
	}
	s.HostKey = shown
	return s, nil
}

// previewTrust shows both keys: who approves has compared the new one.
func (k *kit) previewTrust(ctx context.Context, s Trust) (Plan, error) {
	prepared, err := k.prepareTrust(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	s = prepared.(Trust)
	r, _, err := k.store.VMRecord(ctx, k.cluster.Name(), s.VM.VMID)
	if err != nil {
		return Plan{}, err
	}
	return Plan{
		Title: "trust the new host key of " + s.VM.String(),
		Lines: []string{
			"known: " + fingerprint(r.HostKey), "new:   " + fingerprint(s.HostKey),
			fmt.Sprintf("compare the new one on its console, qm terminal %d on %s:", s.VM.VMID, s.VM.Node),
			"cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -",
		},
		Digest: digest(k.cluster.Name(), s.VM.VMID, s.VM.UUID, "trust", r.HostKey, s.HostKey),
	}, nil
}

func (k *kit) trust(ctx context.Context, w *Work) error {
	s := w.Job().Order.Spec.(Trust)
	ref, c, err := k.meant(ctx, w)
	if err != nil {
		return err
	}
	r, known, err := k.store.VMRecord(ctx, k.cluster.Name(), ref.VMID)
	if err != nil {
		return err
	}
	if !known || !r.reachable(c) {
		return Errorf(Conflict, "I know no way into %s any more", ref)
	}
	shown, err := k.shownKey(ctx, ref, r)
	if err != nil {
		return err
	}
	if shown != s.HostKey {
		return anotherKey(s, shown)
	}
	r.HostKey = shown
	w.Result("%s is known by %s from now on, and lets me in as %s", ref, fingerprint(shown), r.User)
	g := k.into(ref, r)
	defer g.Close()
	if _, err := g.BootID(ctx); err != nil {
		w.Log(ctx, err.Error())
		w.Result("%s is known by %s from now on, but does not let me in as %s", ref, fingerprint(shown), r.User)
	}
	return k.updateRecord(ctx, s.VM, func(r *VMRecord) { r.HostKey = shown })
}

// shownKey is the host key that a guest shows now, as a line of
// authorized_keys.
func (k *kit) shownKey(ctx context.Context, ref VMRef, r VMRecord) (string, error) {
	g := k.into(ref, r)
	defer g.Close()
	key, err := g.ShownKey(ctx)
	if err != nil {
		return "", &Error{
			Kind: Unavailable, Say: fmt.Sprintf("%s shows no host key: %v", ref, err),
			Try: "wait until it has booted, or look at its console: " + fmt.Sprintf("qm terminal %d", ref.VMID), Err: err,
		}
	}
	return key, nil
}

func anotherKey(s Trust, shown string) error {
	return &Error{
		Kind: Conflict, Say: fmt.Sprintf("%s shows %s now, and not the host key that was to be trusted, %s", s.VM, fingerprint(shown), fingerprint(s.HostKey)),
		Try: fmt.Sprintf("vm trust %d shows what it shows now", s.VM.VMID),
	}
}

// fingerprint names a key that is a line of authorized_keys.
func fingerprint(line string) string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return "an unreadable key"
	}
	return guest.Fingerprint(key)
}

// reachable: the bot knows a way into the guest of the VM with that
// configuration. It is one for VMs that the bot made: of a clone the host key
// is learnt at its first start.
func (r VMRecord) reachable(c cluster.VMConfig) bool {
	return r.UUID == c.UUID() && r.IP.IsValid() && r.User != "" && (r.HostKey != "" || r.Job != 0)
}

// into is the way into the guest of a VM that is reachable.
func (k *kit) into(ref VMRef, r VMRecord) *guest.Guest {
	return k.intoAfter(ref, r, guest.Waited{})
}

// intoAfter is into for who waits, after somebody who waited before.
func (k *kit) intoAfter(ref VMRef, r VMRecord, waited guest.Waited) *guest.Guest {
	return k.enter(guest.Access{Addr: net.JoinHostPort(r.IP.String(), "22"), User: r.User, HostKey: r.HostKey, Waited: waited},
		ref.VMID, ref.Node, func(ctx context.Context) (string, error) {
			there, _, err := k.same(ctx, ref)
			return there.Node, err
		})
}
