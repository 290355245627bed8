package metrics

import (
	stdflag "flag"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"pvebot/provision"
	"pvebot/provision/pinned"
)

var _ = stdflag.Bool("update", false, "write down names that are new")

// TestNamesOfMetrics: dashboards and alarms have them, with their labels.
func TestNamesOfMetrics(t *testing.T) {
	s := setUp(t)
	s.play(t, step(provision.StepStarted, "creating VM"), step(provision.StepDone, "creating VM"))
	names := familyNames(t, s.registry)
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		(&moment{}).Describe(descriptions)
		for _, c := range []prometheus.Collector{s.jobs, s.jobTime, s.stepTime, s.callTime, s.callFails} {
			c.Describe(descriptions)
		}
	}()
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, rest, _ := strings.Cut(rest, `"`)
		_, labels, _ := strings.Cut(rest, "variableLabels: ")
		names = append(names, name+" "+strings.Trim(labels, "{}"))
	}
	pinned.Check(t, "testdata/pinned.txt", names)
}

// familyNames are the names that a scrape shows, but for Go's and the process's
// own.
func familyNames(t *testing.T, registry *prometheus.Registry) (names []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "pvebot_") {
			names = append(names, f.GetName()+" "+strings.ToLower(f.GetType().String()))
		}
	}
	slices.Sort(names)
	return names
}
