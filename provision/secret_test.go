package provision_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

// aHash is the hash of a password: crypt(3) of "correct horse" with SHA-512.
const aHash = "$6$rounds=5000$saltsaltsaltsalt$" +
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./abcdefghijklmnopqrstuv"

// A password's hash is stored, and shown to nobody.
func TestSecretsAreHidden(t *testing.T) {
	order := provision.Order{Key: "k", Spec: provision.Install{OS: "ubuntu", PasswordHash: aHash}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", order.Spec.(provision.Install).PasswordHash)
	public, err := json.Marshal(provision.Event{Order: &order}.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", order, order, order, order.Spec), log.String(), string(public)} {
		if strings.Contains(text, "saltsalt") {
			t.Errorf("the hash is in %s", text)
		}
	}
	stored, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	var back provision.Order
	if err := json.Unmarshal(stored, &back); err != nil || back.Spec != order.Spec {
		t.Errorf("%s came back as %+v, %v", stored, back, err)
	}
}

// A VM may carry its number in its name, and a password for its user.
func TestNumberedNameAndPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t, pvesim.Options{})
	s.start()
	spec := ubuntu()
	spec.VMID, spec.Name, spec.NumberName, spec.PasswordHash = 190, "web", true, aHash
	job := s.await(s.mustOrder(spec), provision.StateSucceeded, provision.StateFailed)
	vm, ok := s.sim.VM(190)
	if !ok {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	if vm.Name != "web-190" || job.Facts.Name != "web-190" || vm.Options["cipassword"] != aHash {
		t.Errorf("the VM is %+v", vm)
	}
	for _, bad := range []provision.Secret{"hunter2", "$1$salt$abc", aHash + "\n", "$6$a$b; reboot"} {
		spec := ubuntu()
		spec.PasswordHash = bad
		if _, err := s.engine.Prepare(t.Context(), spec); provision.KindOf(orNil(err)) != provision.Invalid {
			t.Errorf("%q: %v", string(bad), err)
		}
	}
	spec.Name, spec.VMID = strings.Repeat("a", 62), 0
	if _, err := s.engine.Prepare(t.Context(), spec); provision.KindOf(orNil(err)) != provision.Invalid {
		t.Errorf("a name that has no room for its number: %v", err)
	}
}
