package provision_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"pvebot/cluster"
	"pvebot/provision"
)

// A line of the log says which job, step, node and VM it is about.
func TestLogAttributes(t *testing.T) {
	var out bytes.Buffer
	b := newBench(t, openStore(t, t.TempDir()))
	b.engine = provision.NewEngine(provision.Config{
		Store: b.store, Owner: "test", Cluster: cluster.New(nil, nil, cluster.Config{Name: "test"}),
		Log: slog.New(slog.NewJSONHandler(&out, nil)),
	})
	b.engine.SetPlan(
		b.step("choose", func(ctx context.Context, w *provision.Work) error {
			return w.Learn(ctx, provision.Facts{Node: "pve2", VMID: 107})
		}),
		b.step("break", func(context.Context, *provision.Work) error { return errors.New("no space left") }),
	)
	stop := b.start()
	b.await(b.submit(provision.Order{}), provision.StateFailed)
	stop()

	var said []string
	for line := range bytes.Lines(out.Bytes()) {
		var v struct {
			Msg, Step, Node, State, Err string
			Job, VMID                   int
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if v.Job != 1 {
			continue
		}
		said = append(said, v.Msg+" "+v.Step+v.State)
		if v.Node != "pve2" || v.VMID != 107 || v.Msg == "step failed" && v.Err != "no space left" {
			t.Errorf("a line does not say what it is about: %s", line)
		}
	}
	if len(said) != 3 || said[0] != "step done choose" || said[1] != "step failed break" || said[2] != "job ended failed" {
		t.Errorf("the log says %q", said)
	}
}
