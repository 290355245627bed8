package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pvebot/bot"
	"pvebot/provision"
)

// scrapeTime is how long the store may take to answer a scrape.
const scrapeTime = 5 * time.Second

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pvebot_"+name, help, labels, nil)
}

// What a scrape asks for. Ages are 0 when there is nothing of that age.
var (
	storeUp    = desc("store_up", "1 while the store takes what is written to it.")
	jobsNow    = desc("jobs", "Jobs that have not come to rest, by state.", "cluster", "verb", "state")
	jobsOldest = desc("jobs_oldest_seconds", "How long the job that is longest in a state has been in it.", "cluster", "state")

	workers     = desc("workers", "Jobs that this bot works on at once, at the most.", "cluster")
	workersBusy = desc("workers_busy", "Jobs that this bot works on.", "cluster")
	leaseAge    = desc("lease_age_seconds", "Since when the oldest lease of this bot was not renewed; at two thirds of its term it is given up.", "cluster")
	leaseTerm   = desc("lease_term_seconds", "How long a lease is good for.", "cluster")

	slots     = desc("slots", "Slots of the pool of VMIDs and addresses that are taken or cooling down.", "cluster", "state")
	slotsRoom = desc("slots_size", "Slots of the pool, all in all. VMs that the bot did not make take some of them.", "cluster")

	cards       = desc("cards", "Cards that this bot keeps and that may still change.", "platform")
	cardsBehind = desc("cards_behind", "Cards and threads that do not show all there is.", "platform")
	cardsLag    = desc("cards_lag_seconds", "How long the card that is furthest behind has been behind.", "platform")
	cardsLeader = desc("cards_leader", "1 on the bot that writes to the platform.", "platform")
	chatBudget  = desc("chat_budget", "Writes that the platform would take now.", "platform")
	chatQuiet   = desc("chat_quiet_seconds", "How long the platform still wants to be left alone.", "platform")
	chatWrites  = desc("chat_writes_total", "Writes to the platform: landed, refused (it was too busy), failed.", "platform", "result")
	chatUp      = desc("chat_connected", "1 while the platform's connection stands, or another bot's does.", "platform")
	chatAge     = desc("chat_connection_age_seconds", "How long the platform's connection has stood.", "platform")

	nodeUp  = desc("node_connected", "1 while there is a connection to the node; it is made when it is needed.", "cluster", "node")
	nodeAge = desc("node_connection_age_seconds", "How long the connection to the node has stood.", "cluster", "node")
)

var all = []*prometheus.Desc{
	storeUp, jobsNow, jobsOldest, workers, workersBusy, leaseAge, leaseTerm, slots, slotsRoom,
	cards, cardsBehind, cardsLag, cardsLeader, chatBudget, chatQuiet, chatWrites, chatUp, chatAge, nodeUp, nodeAge,
}

// moment collects how things are when it is asked.
type moment struct {
	Sources
	m   *Metrics
	ctx context.Context
}

// Describe implements prometheus.Collector.
func (c *moment) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// gauge sends a value.
func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// age is how long ago t is in seconds, 0 for the zero time.
func (c *moment) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, c.m.clock.Now().Sub(t).Seconds())
}

// Collect implements prometheus.Collector.
func (c *moment) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, scrapeTime)
	defer cancel()
	c.collectJobs(ch)
	err := c.Store.Probe(ctx)
	for _, e := range c.Engines {
		s := e.Status()
		gauge(ch, workers, float64(s.Workers), s.Cluster)
		gauge(ch, workersBusy, float64(s.Busy), s.Cluster)
		gauge(ch, leaseAge, c.age(s.Renewed), s.Cluster)
		gauge(ch, leaseTerm, s.Lease.Seconds(), s.Cluster)
		gauge(ch, slotsRoom, float64(s.Room), s.Cluster)
		if err == nil {
			err = c.collectSlots(ctx, ch, s.Cluster, s.Slots)
		}
	}
	if err != nil {
		c.m.log.WarnContext(ctx, "metrics can't ask the store", "err", err)
	}
	gauge(ch, storeUp, flag(err == nil))
	if c.Follower != nil {
		for _, s := range c.Follower.Status() {
			c.collectCards(ch, s)
		}
	}
	for _, a := range c.Adapters {
		if l, ok := a.(bot.Linked); ok {
			link := l.Link()
			gauge(ch, chatUp, flag(link.Up || link.Standby), a.Name())
			gauge(ch, chatAge, c.age(link.Since), a.Name())
		}
	}
	for _, n := range c.m.nodes {
		for name, since := range n.connected() {
			gauge(ch, nodeUp, flag(!since.IsZero()), n.cluster, name)
			gauge(ch, nodeAge, c.age(since), n.cluster, name)
		}
	}
}

// live are the states of jobs that have not come to rest.
var live = []provision.State{
	provision.StateWaiting, provision.StateQueued, provision.StateRunning, provision.StateParked, provision.StateUndoing,
}

// collectJobs tells what the feed told: a scrape reads no job.
func (c *moment) collectJobs(ch chan<- prometheus.Metric) {
	type key struct {
		cluster, verb string
		state         provision.State
	}
	count := map[key]int{}
	oldest := map[string]map[provision.State]time.Time{} // by cluster
	for _, e := range c.Engines {
		oldest[e.Status().Cluster] = map[provision.State]time.Time{} // also of one without a job
	}
	c.m.feed.mu.Lock()
	for _, l := range c.m.feed.live {
		count[key{l.cluster, l.verb, l.state}]++
		of := oldest[l.cluster]
		if of == nil {
			of = map[provision.State]time.Time{}
			oldest[l.cluster] = of
		}
		if of[l.state].IsZero() || l.since.Before(of[l.state]) {
			of[l.state] = l.since
		}
	}
	c.m.feed.mu.Unlock()
	for k, n := range count {
		gauge(ch, jobsNow, float64(n), k.cluster, k.verb, string(k.state))
	}
	for cluster, of := range oldest {
		for _, s := range live {
			gauge(ch, jobsOldest, c.age(of[s]), cluster, string(s))
		}
	}
}

func (c *moment) collectSlots(ctx context.Context, ch chan<- prometheus.Metric, cluster, pool string) error {
	held, err := c.Store.Held(ctx, pool)
	if err != nil {
		return err
	}
	var taken, cooling int
	for _, job := range held {
		if job == 0 {
			cooling++
		} else {
			taken++
		}
	}
	gauge(ch, slots, float64(taken), cluster, "taken")
	gauge(ch, slots, float64(cooling), cluster, "cooling")
	return nil
}

func (c *moment) collectCards(ch chan<- prometheus.Metric, s bot.PlatformStatus) {
	gauge(ch, cardsLeader, flag(s.Leads), s.Platform)
	gauge(ch, cards, float64(s.Cards), s.Platform)
	gauge(ch, cardsBehind, float64(s.Behind), s.Platform)
	gauge(ch, cardsLag, c.age(s.Oldest), s.Platform)
	gauge(ch, chatBudget, s.Budget, s.Platform)
	var quiet float64
	if !s.Quiet.IsZero() {
		quiet = max(0, s.Quiet.Sub(c.m.clock.Now()).Seconds())
	}
	gauge(ch, chatQuiet, quiet, s.Platform)
	for result, n := range map[string]int{"landed": s.Writes, "refused": s.Refused, "failed": s.Failures} {
		ch <- prometheus.MustNewConstMetric(chatWrites, prometheus.CounterValue, float64(n), s.Platform, result)
	}
}
