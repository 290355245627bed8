// Package alloc gives out slots: a VMID together with its address. It
// chooses candidates, has them probed, and takes the first free one through a
// [Ledger], which is what makes sure that two callers never get the same.
//
// A slot is free when three parties agree: the cluster knows no guest, no
// volume and no configured address of it ([Taken], collected by the caller),
// nothing answers at its address ([Prober], which runs on a node because the
// bot may stand outside the guests' network), and no other job holds it
// (the Ledger). What can't be asked is never taken for free.
//
// The package keeps nothing and imports nothing of ours: tests need a Ledger
// and a Prober of a few lines each.
package alloc
