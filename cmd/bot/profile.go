package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// profile begins to write what the CPU is used for to PREFIX.cpu. Stop ends it,
// and writes what was allocated, and by whom, to PREFIX.mem. Both are for
// `go tool pprof`.
func profile(prefix string) (stop func() error, err error) {
	cpu, err := os.Create(prefix + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		mem, err := os.Create(prefix + ".mem")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		runtime.GC() // what is live is known after it
		return errors.Join(pprof.Lookup("allocs").WriteTo(mem, 0), mem.Close(), cpu.Close())
	}, nil
}
