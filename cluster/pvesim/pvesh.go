package pvesim

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// request is a call of pvesh: a method on a path.
type request struct {
	*call
	method string // get, create, set, delete
	path   string
	parts  []string // what the stars of the route matched
	opts   map[string]string
}

// route is a path of the API. A star stands for one part; a star in the
// second place, after nodes, is the node.
type route struct {
	method string
	path   string
	fn     func(r *request) (any, error)
}

var routes []route

func init() {
	routes = []route{
		{"get", "/version", (*request).version},
		{"get", "/cluster/resources", (*request).clusterResources},
		{"get", "/cluster/status", (*request).clusterStatus},
		{"get", "/cluster/sdn/vnets", (*request).listVNets},
		{"get", "/cluster/ha/resources", (*request).haResources},
		{"get", "/cluster/ha/rules", (*request).haRules},
		{"get", "/cluster/nextid", (*request).nextID},
		{"get", "/nodes", (*request).listNodes},
		{"get", "/nodes/*/status", (*request).nodeStatus},
		{"get", "/nodes/*/network", (*request).nodeNetwork},
		{"get", "/nodes/*/storage", (*request).nodeStorage},
		{"get", "/nodes/*/storage/*/content", (*request).storageContent},
		{"get", "/nodes/*/storage/*/status", (*request).storageStatus},
		{"get", "/nodes/*/qemu", (*request).listQemu},
		{"get", "/nodes/*/qemu/*/config", (*request).qemuConfig},
		{"get", "/nodes/*/qemu/*/status/current", (*request).qemuCurrent},
		{"get", "/nodes/*/qemu/*/pending", (*request).qemuPending},
		{"get", "/nodes/*/tasks", (*request).listTasks},
		{"get", "/nodes/*/tasks/*/status", (*request).taskStatus},
		{"get", "/nodes/*/tasks/*/log", (*request).taskLog},
		{"delete", "/nodes/*/tasks/*", (*request).stopTask},
		{"get", "/nodes/*/capabilities/qemu/cpu", (*request).cpuModels},
		{"create", "/nodes/*/qemu/*/status/start", (*request).startVM},
		{"create", "/nodes/*/qemu/*/status/stop", (*request).stopVM},
		{"create", "/nodes/*/qemu/*/status/shutdown", (*request).shutdownVM},
		{"create", "/nodes/*/qemu/*/status/reboot", (*request).rebootVM},
		{"create", "/nodes/*/qemu", (*request).createVM},
		{"set", "/nodes/*/qemu/*/config", (*request).setConfig},
		{"create", "/nodes/*/qemu/*/config", (*request).setConfigTask},
		{"set", "/nodes/*/qemu/*/resize", (*request).resizeDisk},
		{"create", "/nodes/*/qemu/*/agent/ping", (*request).agentPing},
		{"get", "/nodes/*/qemu/*/agent/network-get-interfaces", (*request).agentInterfaces},
		{"create", "/nodes/*/storage/*/download-url", (*request).downloadURL},
		{"get", "/nodes/*/qemu/*/snapshot", (*request).listSnapshots},
		{"get", "/nodes/*/qemu/*/migrate", (*request).migrationCheck},
	}
}

// pvesh is the command `pvesh`.
func (c *call) pvesh() error {
	if len(c.argv) < 2 {
		return fail("ERROR: no command specified\nUSAGE: pvesh <COMMAND> <api_path> [OPTIONS] [FORMAT_OPTIONS]")
	}
	r := &request{call: c, method: c.argv[0], opts: map[string]string{}}
	if !slices.Contains([]string{"get", "create", "set", "delete", "ls"}, r.method) {
		return fail("ERROR: unknown command 'pvesh %s'", r.method)
	}
	r.path = "/" + strings.Trim(c.argv[1], "/")
	if err := r.options(c.argv[2:]); err != nil {
		return err
	}
	if r.method == "ls" {
		return r.list()
	}
	rt := r.route()
	if rt == nil {
		return failStatus(1, "No '%s' handler defined for '%s'", r.method, r.path)
	}
	if err := r.proxy(); err != nil {
		return err
	}
	result, err := rt.fn(r)
	if err != nil {
		return err
	}
	return r.show(result)
}

func (r *request) options(words []string) error {
	for i := 0; i < len(words); i++ {
		name, ok := strings.CutPrefix(words[i], "-")
		if !ok {
			return fail("400 too many arguments\n%s", r.usage())
		}
		name = strings.TrimPrefix(name, "-")
		key, value, has := strings.Cut(name, "=")
		if !has && i+1 < len(words) && !strings.HasPrefix(words[i+1], "--") {
			i++
			value, has = words[i], true
		}
		if !has {
			value = "1"
		}
		r.opts[key] = value
	}
	return nil
}

func (r *request) usage() string {
	return fmt.Sprintf("pvesh %s <api_path> [OPTIONS] [FORMAT_OPTIONS]", r.method)
}

// bad is a complaint about a parameter.
func (r *request) bad(status int, key, reason string) error {
	return failStatus(status, "400 Parameter verification failed.\n%s: %s\n%s", key, reason, r.usage())
}

// route finds the path among routes, and its parts.
func (r *request) route() *route {
	have := strings.Split(strings.TrimPrefix(r.path, "/"), "/")
	for i := range routes {
		rt := &routes[i]
		want := strings.Split(strings.TrimPrefix(rt.path, "/"), "/")
		if rt.method != r.method || len(want) != len(have) {
			continue
		}
		r.parts = nil
		match := true
		for j, w := range want {
			if w == "*" {
				r.parts = append(r.parts, have[j])
			} else if w != have[j] {
				match = false
				break
			}
		}
		if match {
			return rt
		}
	}
	return nil
}

// list is `pvesh ls`: what is below a path, of what is simulated.
func (r *request) list() error {
	below := map[string]string{} // name -> capabilities
	have := strings.Split(strings.Trim(r.path, "/"), "/")
	if have[0] == "" {
		have = nil
	}
	for _, rt := range routes {
		want := strings.Split(strings.TrimPrefix(rt.path, "/"), "/")
		if len(want) <= len(have) || !slices.EqualFunc(want[:len(have)], have, func(w, h string) bool { return w == "*" || w == h }) {
			continue
		}
		for _, name := range r.children(want[len(have)], have) {
			caps := below[name]
			if len(want) > len(have)+1 {
				caps += "D"
			} else {
				caps += map[string]string{"get": "r", "set": "w", "create": "c", "delete": "d"}[rt.method]
			}
			below[name] = caps
		}
	}
	if len(below) == 0 {
		return failStatus(2, "no such resource '%s'", r.path)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(below)) {
		for _, c := range "Drwcd" {
			if !strings.ContainsRune(below[name], c) {
				c = '-'
			}
			b.WriteRune(c)
		}
		b.WriteString(" " + name + "\n")
	}
	return r.out(b.String())
}

// children are what a part of a route stands for.
func (r *request) children(part string, have []string) (names []string) {
	if part != "*" {
		return []string{part}
	}
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	switch {
	case len(have) == 1:
		for _, n := range r.sim.nodes {
			names = append(names, n.name)
		}
	case have[len(have)-1] == "qemu":
		for _, v := range r.sim.sortedVMs() {
			if v.node.name == have[1] && v.typ == "qemu" {
				names = append(names, fmt.Sprint(v.id))
			}
		}
	case have[len(have)-1] == "storage":
		for _, st := range r.sim.stores {
			if n := r.sim.node(have[1]); n != nil && st.on(n) {
				names = append(names, st.spec.Name)
			}
		}
	}
	return names
}

// proxy goes to the node of the path, which is the one that was typed: pvesh
// does not look where a VM is.
func (r *request) proxy() error {
	if !strings.HasPrefix(r.path, "/nodes/") || r.parts[0] == "localhost" {
		return nil
	}
	n := r.sim.node(r.parts[0])
	if n == nil {
		return fail("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", r.parts[0], r.parts[0])
	}
	if !n.online() {
		return fail("proxy handler failed: ssh: connect to host %s port 22: No route to host", n.spec.IP)
	}
	r.node, r.boot = n, n.current()
	return nil
}

// show prints a result. Only JSON is simulated faithfully; text is what JSON
// needs no quotes for.
func (r *request) show(result any) error {
	if result == nil {
		return nil
	}
	switch format := r.opts["output-format"]; format {
	case "json":
		return r.out(string(toJSON(result, "")))
	case "json-pretty":
		return r.out(string(toJSON(result, "   ")))
	default:
		if s, ok := result.(string); ok {
			return r.out(s)
		}
		return r.out(string(toJSON(result, "   ")))
	}
}

// toJSON writes maps with sorted keys and HTML as it is, like Perl's
// canonical JSON.
func toJSON(v any, indent string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		panic(err) // our own maps
	}
	if indent != "" {
		return prettyColon.ReplaceAll([]byte(b.String()), []byte("$1 :"))
	}
	return []byte(b.String())
}

// prettyColon is where Perl's pretty JSON has a blank that Go's has not.
var prettyColon = regexp.MustCompile(`(?m)^(\s*"(?:[^"\\]|\\.)*"):`)

// object is a JSON object.
type object = map[string]any

// shuffle puts a list in the random order in which Perl's hashes give it.
// Sim.mu must be held.
func (s *Sim) shuffle(list []object) []object {
	s.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if list == nil {
		return []object{}
	}
	return list
}

func (r *request) version() (any, error) {
	return object{"release": fmt.Sprintf("%.1f", r.sim.release()), "repoid": "14a22df3", "version": r.sim.opts.Version}, nil
}

func (r *request) nextID() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	if id, ok := r.opts["vmid"]; ok {
		for n, v := range r.sim.vms {
			if fmt.Sprint(n) == id {
				return nil, r.bad(255, "vmid", map[string]string{"qemu": "VM", "lxc": "CT"}[v.typ]+" "+id+" already exists")
			}
		}
		return id, nil
	}
	for n := 100; ; n++ {
		if r.sim.vms[n] == nil {
			return fmt.Sprint(n), nil // PVE: a string
		}
	}
}

func (r *request) qemuConfig() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	v, err := r.find(r.parts[1])
	if err != nil {
		return nil, err
	}
	out := object{"digest": v.digest()}
	for k, value := range effective(v, r.opts["current"] == "1") {
		out[k] = configValue(k, value)
	}
	if v.description != "" {
		out["description"] = strings.TrimSuffix(v.description, "\n")
	}
	return out, nil
}

// configValue: PVE gives plain integers and booleans as numbers, all else,
// memory among it, as strings.
func configValue(key, value string) any {
	o := commands()["qm create"].option(key)
	if o == nil || o.typ != "integer" && o.typ != "boolean" {
		return value
	}
	return json.Number(value)
}

func (r *request) qemuPending() (any, error) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	v, err := r.find(r.parts[1])
	if err != nil {
		return nil, err
	}
	list := []object{{"key": "digest", "value": v.digest()}}
	for k, value := range effective(v, true) {
		o := object{"key": k, "value": value}
		if p, ok := v.pending[k]; ok {
			o["pending"] = p
		}
		if slices.Contains(splitTags(v.pending["delete"]), k) {
			o["delete"] = 1
		}
		list = append(list, o)
	}
	return r.sim.shuffle(list), nil
}
