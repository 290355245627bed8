package provision

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"pvebot/cluster"
	"pvebot/provision/image"
)

// idle are the nodes of a cluster on which nothing may change, and which
// answer to nothing.
type idle struct{ t *testing.T }

func (idle) Names() []string                       { return []string{"pve1"} }
func (i idle) Node(string) (cluster.Runner, error) { return i, nil }
func (idle) Close() error                          { return nil }
func (idle) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

func (i idle) Run(_ context.Context, c cluster.Cmd) (cluster.Result, error) {
	if c.Changes {
		i.t.Errorf("a question ran %q", c.Argv)
	}
	return cluster.Result{}, &cluster.ExitError{Argv: c.Argv, Status: 1}
}

// FuzzQuestion: whatever stands in the store as a question, nothing but looks
// comes of it, and its answer can be stored.
func FuzzQuestion(f *testing.F) {
	for _, about := range []topic{askVM, askVMs, askSnapshots, askResources, askImages, askBaselines, askPrepare, askPreview} {
		for kind := range specs {
			f.Add([]byte(`{"about":"` + string(about) + `","word":"101","vm":{"vmid":101},"spec":{"kind":"` + kind + `","spec":{"vm":{"vmid":101},"do":"` + kind + `","os":"ubuntu","node":"pve1"}}}`))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		nodes := idle{t}
		where := cluster.Config{Name: "test"}
		e := NewEngine(Config{
			Cluster: cluster.New(nodes, cluster.NewTasks(nodes, where), where), Images: image.Default(),
			Log: slog.New(slog.DiscardHandler),
		})
		v, err := e.lookUp(t.Context(), data)
		if err != nil && strings.Contains(err.Error(), "has a defect") {
			t.Errorf("%s: it panicked", data)
		}
		if _, jerr := json.Marshal([]any{v, ProblemOf(err)}); jerr != nil {
			t.Errorf("%s: %v", data, jerr)
		}
	})
}
