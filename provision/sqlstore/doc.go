// Package sqlstore keeps the engine's jobs in a SQL database: in SQLite, in a
// directory of its own, or in PostgreSQL for several bots. It is a
// provision.Store, hand-written on database/sql; the two databases share the
// schema (migrations) and all but a few words of SQL (dialect).
//
// Every change of a job is one transaction: the events, the job's row, which
// is the fold of all its events, and the slots. A position in the feed is
// given out under a lock that is held until the commit, so that positions
// become visible in their order and a follower never misses one.
//
// Leases are columns of the job's row. Claim raises the epoch; whoever comes
// with an older one is fenced.
package sqlstore
