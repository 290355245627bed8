package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// qmListSnapshot prints the tree of snapshots, as PVE draws it.
func (c *call) qmListSnapshot(a args) error {
	c.sim.mu.Lock()
	v, err := c.find(a.values["vmid"])
	var text string
	if err == nil {
		text = v.snapshotTree()
	}
	c.sim.mu.Unlock()
	if err != nil {
		return err
	}
	return c.out(text)
}

func (v *vm) snapshotTree() string {
	const current = "current"
	children := map[string][]string{}
	add := func(parent, name string) {
		if v.snapshots[parent] == nil {
			parent = ""
		}
		children[parent] = append(children[parent], name)
	}
	byTime := slices.SortedFunc(maps.Keys(v.snapshots), func(a, b string) int { return v.snapshots[a].at.Compare(v.snapshots[b].at) })
	for _, name := range byTime {
		add(v.snapshots[name].opts["parent"], name)
	}
	add(v.opts["parent"], current)
	var b strings.Builder
	var draw func(prefix, parent string)
	draw = func(prefix, parent string) {
		for _, name := range children[parent] {
			at, text := "", "You are here!"
			if name != current {
				at = v.snapshots[name].at.Format(time.DateTime)
				text, _, _ = strings.Cut(v.snapshots[name].description, "\n")
				if text == "" {
					text = "no-description"
				}
			}
			fmt.Fprintf(&b, "%s %-*s %-23s %s\n", prefix, max(0, 30-len(prefix)), name, at, text)
			if name != current {
				draw(" "+prefix, name)
			}
		}
	}
	draw("`->", "")
	return b.String()
}

// listSnapshots is GET .../snapshot.
func (r *request) listSnapshots() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	v, err := r.find(r.parts[1])
	if err != nil {
		return nil, err
	}
	here := object{"name": "current", "digest": v.digest(), "running": number(v.running), "description": "You are here!"}
	if v.opts["parent"] != "" {
		here["parent"] = v.opts["parent"]
	}
	list := []object{here}
	for name, sn := range v.snapshots {
		o := object{"name": name, "snaptime": sn.at.Unix(), "vmstate": number(sn.memory), "description": sn.description}
		if sn.opts["parent"] != "" {
			o["parent"] = sn.opts["parent"]
		}
		if sn.state != "" {
			o["snapstate"] = sn.state
		}
		list = append(list, o)
	}
	return r.sim.shuffle(list), nil
}
