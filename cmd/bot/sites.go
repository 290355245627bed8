package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pvebot/commands"
)

// site is a cluster that people can order in, by CLUSTERS.
type site struct {
	name string
	// here are the settings with which this bot works for it; nil: another bot
	// does.
	here *config
}

// prefixOf begins the settings of one of several clusters: TAIPEI_MAIN_NODE.
func prefixOf(cluster string) string {
	return strings.ToUpper(strings.ReplaceAll(cluster, "-", "_")) + "_"
}

// readSites finds out what clusters there are, and which of them this bot
// works for: those that have nodes here. What a cluster does not set for
// itself it takes from the settings without a prefix, but for the nodes.
func (c *config) readSites(vars map[string]string) error {
	var names []string
	for _, name := range c.Clusters {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			continue
		case !commands.IsCluster(name):
			c.unread = append(c.unread, fmt.Sprintf("CLUSTERS has %q: names are lower-case letters, digits and hyphens, like taipei", name))
			continue
		case slices.Contains(names, name):
			c.unread = append(c.unread, fmt.Sprintf("CLUSTERS has %s twice", name))
			continue
		}
		names = append(names, name)
	}
	c.Clusters = names
	if len(names) == 0 {
		return nil
	}
	shared := maps.Clone(vars)
	maps.DeleteFunc(shared, func(name, _ string) bool {
		return name == "CLUSTERS" || name == "MAIN_NODE" || strings.HasPrefix(name, nodePrefix)
	})
	for _, name := range names {
		own := map[string]string{}
		for setting, value := range vars {
			if rest, ok := strings.CutPrefix(setting, prefixOf(name)); ok {
				own[rest] = value
			}
		}
		s := site{name: name}
		if hasNodes(own) {
			merged := maps.Clone(shared)
			maps.Copy(merged, own)
			merged["CLUSTER"] = name
			unread := takeUnreadable(merged)
			here, err := parseVars(merged)
			if err != nil {
				return fmt.Errorf("cluster %s: %w", name, err)
			}
			here.unread = unread
			here.port = own["PORT"] != "" // the one without a prefix is for the bot that people talk to
			s.here = &here
		}
		c.sites = append(c.sites, s)
	}
	return nil
}

// offered are the clusters that people can order in: without CLUSTERS the one
// that the settings are about.
func (c *config) offered() []site {
	if len(c.Clusters) == 0 {
		return []site{{c.Cluster, c}}
	}
	return c.sites
}

// hasNodes: somebody means to work for the cluster with these settings.
func hasNodes(vars map[string]string) bool {
	for name := range vars {
		if name == "MAIN_NODE" || strings.HasPrefix(name, nodePrefix) {
			return true
		}
	}
	return false
}

// checkSites lists what is missing or wrong with the clusters.
func (c *config) checkSites() []string {
	if len(c.Clusters) == 0 {
		return c.checkCluster()
	}
	var wrong []string
	local := strings.HasPrefix(c.StoreURL, "postgres")
	for _, s := range c.sites {
		if s.here != nil {
			for _, w := range slices.Concat(s.here.unread, s.here.checkCluster()) {
				wrong = append(wrong, fmt.Sprintf("cluster %s, whose settings begin with %s: %s", s.name, prefixOf(s.name), w))
			}
		} else if !local {
			wrong = append(wrong, fmt.Sprintf("cluster %s has no nodes here: set %sMAIN_NODE and %sNODE_<name>, or a STORE_URL on PostgreSQL, where another bot can work for it",
				s.name, prefixOf(s.name), prefixOf(s.name)))
		}
	}
	return wrong
}

// worker makes c the settings of a bot that works for one cluster, and that
// nobody talks to.
func (c *config) worker(name string) error {
	if !commands.IsCluster(name) {
		return fmt.Errorf("--cluster %q: names are lower-case letters, digits and hyphens, like taipei", name)
	}
	if len(c.Clusters) == 0 {
		c.Cluster = name
	} else {
		i := slices.IndexFunc(c.sites, func(s site) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("--cluster %s: CLUSTERS has %s", name, strings.Join(c.Clusters, ", "))
		}
		if c.sites[i].here == nil {
			return &incompleteError{[]string{fmt.Sprintf("cluster %s has no nodes here: set %sMAIN_NODE and %sNODE_<name>", name, prefixOf(name), prefixOf(name))}}
		}
		c.sites = c.sites[i : i+1]
		c.Clusters = []string{name}
		here := c.sites[0].here
		c.Listen, c.Port, c.port, c.Web = here.Listen, here.Port, here.port, here.Web
	}
	return nil
}

// only is worker, for settings with which it can work.
func (c *config) only(name string) error {
	if err := c.worker(name); err != nil {
		return err
	}
	var wrong []string
	if !strings.HasPrefix(c.StoreURL, "postgres") {
		wrong = append(wrong, "STORE_URL is not postgres://...: a bot that works for one cluster shares its store with the bot that people talk to, on PostgreSQL")
	}
	if wrong = slices.Concat(c.unread, wrong, c.checkSites()); len(wrong) > 0 {
		return &incompleteError{slices.Concat(wrong, c.misspelt)}
	}
	return nil
}

// checkPolicy: the policy speaks only of clusters that there are.
func (c *config) checkPolicy(p commands.Policy) error {
	var errs []error
	known := func(where, cluster string) {
		if !slices.ContainsFunc(c.offered(), func(s site) bool { return s.name == cluster }) {
			errs = append(errs, fmt.Errorf("POLICY_FILE: %s names the cluster %s, which CLUSTERS does not have", where, cluster))
		}
	}
	for _, cluster := range slices.Compact(slices.Sorted(maps.Values(p.Channels))) {
		known("channels", cluster)
	}
	for _, role := range p.Roles {
		for _, rule := range role.Allow {
			for _, cluster := range rule.Clusters {
				known("role "+role.Name, cluster)
			}
		}
	}
	return errors.Join(errs...)
}
