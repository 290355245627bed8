package provision_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// Who has too little time for the answer of a node that hangs is told in time
// which node it is, also when somebody else asked it.
func TestResourcesNameTheNodeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := provision.NewEngine(provision.Config{Owner: "test", Cluster: cluster.New(darkNodes{}, nil, cluster.Config{Name: "test"})})
		enough := errors.New("enough")
		for range 2 {
			var asked cluster.Asked
			ctx, cancel := context.WithTimeoutCause(cluster.WithAsked(t.Context(), &asked), 20*time.Second, enough)
			_, err := engine.Resources(ctx)
			cancel()
			if !errors.Is(err, enough) || asked.Node() != "pve1" {
				t.Errorf("%v, of %q", err, asked.Node())
			}
		}
		time.Sleep(5 * time.Minute) // the call ends
	})
}

// An order whose asker has waited too long is refused before it is stored, so
// that it is never taken unsaid.
func TestOrderOfSomebodyWhoGaveUp(t *testing.T) {
	store := openStore(t, t.TempDir())
	defer store.Close()
	engine := provision.NewEngine(provision.Config{Store: store, Owner: "test", Cluster: cluster.New(darkNodes{}, nil, cluster.Config{Name: "test"})})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := engine.Submit(ctx, provision.Order{Key: "k", By: alice, Spec: provision.Power{Do: "stop", VM: provision.VMRef{VMID: 101, Name: "web-1"}}})
	if provision.KindOf(err) != provision.Unavailable {
		t.Errorf("%v", err)
	}
	if jobs, err := store.Jobs(t.Context(), provision.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
}
