package commands

import "testing"

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("/vm install ubuntu 24.04 --name web-1 --cpu 4 --ram 8G --disk 32G"); err != nil {
			b.Fatal(err)
		}
	}
}
