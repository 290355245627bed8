// Package provision is the engine: it makes an [Order] a durable [Job] of
// named [Step]s, runs them, and undoes them when they fail or are cancelled.
// Every fact is an [Event]; a Job is the fold of its events.
//
// The engine keeps nothing in memory that it could not lose: [Store] holds
// jobs, events, slots, gates and leases, and a bot that was killed finds its
// jobs there and goes on at the first unfinished step. Before an effect the
// step's "started" is written, after it "done"; between the two a restarted
// engine asks [Step.Done] and does not guess.
//
// Stores prove themselves with pvebot/provision/storetest; plans are tested
// against pvebot/cluster/pvesim.
package provision
