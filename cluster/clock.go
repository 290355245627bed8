package cluster

import (
	"context"
	"time"
)

// Clock is where this program's time comes from. Implementations may be used
// by many goroutines at once. Only this file and tests may call time.Now,
// time.Sleep and their kin.
type Clock interface {
	// Now is the time, with a monotonic reading where there is one.
	Now() time.Time
	// Sleep waits for d, or until ctx ends; then it returns ctx's cause.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the machine's own clock.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
