package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkDecodeResources reads what pvesh says about clusters of growing
// size.
func BenchmarkDecodeResources(b *testing.B) {
	for _, size := range []struct{ nodes, vms int }{{3, 10}, {16, 100}, {32, 1000}} {
		var list []map[string]any
		for i := range size.nodes {
			list = append(list, map[string]any{
				"id": fmt.Sprintf("node/pve%d", i), "type": "node", "node": fmt.Sprintf("pve%d", i), "status": "online",
				"maxcpu": 32, "cpu": 0.25, "mem": 1 << 35, "maxmem": 1 << 37, "uptime": 864000,
			})
		}
		for i := range size.vms {
			list = append(list, map[string]any{
				"id": fmt.Sprintf("qemu/%d", 100+i), "type": "qemu", "vmid": 100 + i, "name": fmt.Sprintf("vm-%d", i),
				"node": fmt.Sprintf("pve%d", i%size.nodes), "status": "running", "maxcpu": 4, "cpu": 0.1,
				"mem": 1 << 31, "maxmem": 1 << 32, "maxdisk": 1 << 35, "uptime": 86400, "template": 0, "tags": "pvebot;web",
			})
		}
		text, err := json.Marshal(list)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("nodes=%d/vms=%d", size.nodes, size.vms), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				res, err := decodeResources(bytes.Clone(text))
				if err != nil || len(res.VMs) != size.vms {
					b.Fatal(len(res.VMs), err)
				}
			}
		})
	}
}
