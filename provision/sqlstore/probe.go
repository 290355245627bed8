package sqlstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pvebot/provision"
)

// probeAge is how long what a probe found is good for whoever asks: many may,
// and each probe is a write.
const probeAge = 5 * time.Second

// prober is what the newest probe found.
type prober struct {
	turn  chan struct{} // holds one: who probes
	at    time.Time     // of the newest one; zero: there was none
	found error
}

// Probe implements provision.Store.
func (s *Store) Probe(ctx context.Context) error {
	select {
	case s.probes.turn <- struct{}{}:
		defer func() { <-s.probes.turn }()
	case <-ctx.Done():
		return silent(context.Cause(ctx))
	}
	if s.hub.isClosed() {
		return provision.ErrClosed
	}
	now := s.clock.Now()
	if age := now.Sub(s.probes.at); !s.probes.at.IsZero() && age >= 0 && age < probeAge {
		return s.probes.found
	}
	err := s.probe(ctx)
	if ctx.Err() != nil {
		return silent(err) // whoever has more time may hear more
	}
	s.probes.at, s.probes.found = now, err
	return err
}

// silent is the error of a store that said nothing in time.
func silent(cause error) error {
	return &provision.Error{Kind: provision.Unavailable, Say: "the store does not answer in time",
		Try: "see whether its disk or its server is overloaded or hangs", Err: cause}
}

// probe writes the row of a role that nobody takes, as an order would be written,
// and looks whether there is room for more.
func (s *Store) probe(ctx context.Context) error {
	if s.readOnly {
		_, err := s.Position(ctx)
		return err
	}
	err := s.writeOnce(ctx, func(t *txn) error {
		_, err := t.exec(ctx, `INSERT INTO roles (name, owner, expires) VALUES ('probe', '', $1)
			ON CONFLICT (name) DO UPDATE SET expires = excluded.expires`, micros(t.now))
		return err
	})
	if err == nil && s.dir != "" && s.isFull() {
		return s.full(nil)
	}
	return s.closedOr(err)
}

// unmoved makes sure that the database that is written to is still the one in
// the data directory: one that was removed takes everything, and loses it when
// the process ends.
func (s *Store) unmoved() error {
	if s.dir == "" || s.opened == nil {
		return nil
	}
	file := filepath.Join(s.dir, sqliteFile)
	now, err := os.Stat(file)
	if err == nil && os.SameFile(now, s.opened) {
		return nil
	}
	return &provision.Error{
		Kind: provision.Unavailable, Say: "the bot can't store anything: its store was removed or replaced while it runs",
		Try: fmt.Sprintf("put %s back where it was, or stop the bot and restore a backup: `bot store restore FILE`", file), Err: err,
	}
}
