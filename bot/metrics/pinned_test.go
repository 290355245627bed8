package metrics

import (
	stdflag "flag"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"pvebot/provision/pinned"
)

var _ = stdflag.Bool("update", false, "write down names that are new")

// TestNamesOfMetrics: dashboards and alarms have them, with their labels.
func TestNamesOfMetrics(t *testing.T) {
	s := setUp(t)
	names := []string{"pvebot_build_info version,go"} // which TestMoment looks for
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
