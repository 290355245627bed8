package cluster

import (
	"slices"
	"testing"
)

// TestBlockingResourcesHaveACause: PVE 9 says which kind of rule keeps a VM from a
// node, PVE 8 does not.
func TestBlockingResourcesHaveACause(t *testing.T) {
	check, err := decodeMigrationCheck([]byte(`{"running":0,"not_allowed_nodes":{
		"pve2":{"blocking-ha-resources":[{"sid":"vm:102","cause":"resource-affinity"},{"sid":"ct:103"}]},
		"pve3":{"blocking-ha-resources":[{"sid":"vm:104","cause":"node-affinity"}]}}}`), "pve2")
	if err != nil || !slices.Equal(check.Blocking, []string{"vm:102 (resource-affinity)", "ct:103"}) {
		t.Errorf("%q, %v", check.Blocking, err)
	}
}
