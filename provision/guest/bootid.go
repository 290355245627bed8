package guest

import "context"

// BootID asks the guest which boot it is in: a new random id after each.
func (g *Guest) BootID(ctx context.Context) (string, error) {
	return g.ask(ctx, "cat", "/proc/sys/kernel/random/boot_id")
}
