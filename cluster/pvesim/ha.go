package pvesim

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// haRequest is what the tools do with a VM that high availability looks after:
// a task of its own that only asks for it, and ends well at once.
func (c *call) haRequest(typ, vmid, line string, act func(v *vm)) (*task, error) {
	t, err := c.work(typ, vmid, func(w *worker) error { return w.say(line) })
	if err != nil {
		return t, err
	}
	s := c.sim
	s.wg.Go(func() {
		if s.sleep(s.ctx, s.opts.Latency.HA) != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if v, err := c.find(vmid); err == nil && v.opts["lock"] == "" {
			act(v)
		}
	})
	return t, nil
}

// managed says whether high availability looks after a VM.
func (s *Sim) managed(vmid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.ha {
		if fmt.Sprint(id) == vmid {
			return true
		}
	}
	return false
}

// wish writes down what state the HA manager is to keep a VM in, and does it.
// Sim.mu must be held.
func (s *Sim) wish(v *vm, state string) {
	s.ha[v.id] = state
	s.writeHA()
	switch {
	case state == "started" && !v.running:
		if _, err := v.node.canRun(v); err == nil {
			s.powerOn(v)
		}
	case state == "stopped":
		v.halt()
	}
}

func (s *Sim) haObject(v *vm) object {
	state, ok := s.ha[v.id]
	if !ok {
		return object{"managed": 0}
	}
	return object{"managed": 1, "state": state}
}

// writeHA writes /etc/pve/ha/resources.cfg, which is there once somebody needs
// it.
func (s *Sim) writeHA() {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.ha)) {
		fmt.Fprintf(&b, "vm: %d\n\tstate %s\n\n", id, s.ha[id])
	}
	s.writeFile(filepath.Join(s.dir, "pve", "ha", "resources.cfg"), []byte(b.String()))
}

// haResources is GET /cluster/ha/resources.
func (r *request) haResources() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	list := []object{}
	for id, state := range r.sim.ha {
		list = append(list, object{"sid": fmt.Sprintf("vm:%d", id), "type": "vm", "state": state, "digest": digestOf(state)})
	}
	return r.sim.shuffle(list), nil
}

// haRules is GET /cluster/ha/rules, which took the place of groups in PVE 9. None
// are simulated.
func (r *request) haRules() (any, error) {
	if r.sim.release() < 9 {
		return nil, failStatus(1, "No '%s' handler defined for '%s'", r.method, r.path)
	}
	return []object{}, nil
}
