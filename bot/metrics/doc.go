// Package metrics tells Prometheus how the bot does. What happened comes from
// the feed of events, as a card's or a page's view of it does; commands on
// nodes are measured by a wrapper around their Runner; how things are at the
// moment is asked of the store, the engine, the follower and the adapters when
// somebody scrapes. None of them knows of Prometheus.
//
// Counters and histograms that come from the feed cover the jobs of all bots
// on one store since this process started, not only those that it worked on:
// over several bots take max, not sum. The same holds for the gauges that come
// from the store.
package metrics
