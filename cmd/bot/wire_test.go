package main

import "testing"

// Two containers may have the same host name and the same pid.
func TestOwnersDiffer(t *testing.T) {
	if a, b := owner(), owner(); a == b {
		t.Errorf("two owners are called %s", a)
	}
}
