package metrics

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"pvebot/provision"
	"pvebot/provision/sqlstore"
)

// BenchmarkScrape is a scrape with live jobs in the store.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("jobs=%d", n), func(b *testing.B) {
			store, err := sqlstore.Open(b.Context(), "sqlite:"+b.TempDir(), sqlstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			for i := range n {
				_, err := store.Submit(b.Context(), provision.Order{
					Key: fmt.Sprint(i), Cluster: "pve", Spec: provision.Install{OS: "ubuntu"},
				}, []provision.StepState{{Name: "creating VM"}})
				if err != nil {
					b.Fatal(err)
				}
			}
			m := New("v1", nil, nil)
			if _, err := m.resume(b.Context(), store); err != nil {
				b.Fatal(err)
			}
			m.registry.MustRegister(&moment{m: m, Sources: Sources{Store: store}, ctx: b.Context()})
			r := httptest.NewRequestWithContext(b.Context(), "GET", "/metrics", nil)
			b.ReportAllocs()
			for b.Loop() {
				m.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
