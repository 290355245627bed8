package web

import (
	"net/http"

	"pvebot/provision"
)

// sight is what somebody may see of the page. What only they see, they see in
// any case.
type sight struct {
	key   string           // Actor.Key
	jobs  bool             // all jobs; otherwise only their own
	blind map[string]error // the panels that they may not see, by key, and why
}

// sightOf asks the policy what the sender of r may see. Each panel shows what a
// verb answers in a chat.
func (w *Web) sightOf(r *http.Request) sight {
	who := actorOf(r)
	s := sight{key: who.Key(), jobs: w.maySee(who, "jobs", "") == nil, blind: map[string]error{}}
	for _, p := range w.panels() {
		if err := w.maySee(who, panelVerbs[p.Name], p.Cluster); err != nil {
			s.blind[p.Key()] = err
		}
	}
	return s
}

// panelVerbs are the verbs that show in a chat what panels show.
var panelVerbs = map[string]string{"asks": "jobs", "jobs": "jobs", "vms": "list", "nodes": "nodes"}

// maySee asks the policy. Where people log in and nobody says what they may
// see, that is nothing.
func (w *Web) maySee(by provision.Actor, verb, cluster string) error {
	switch {
	case w.cfg.MaySee != nil:
		return w.cfg.MaySee(by, verb, cluster)
	case len(w.cfg.Secret) > 0:
		return provision.Errorf(provision.Denied, "nobody may see this here")
	}
	return nil
}

// message says whether m is shown to who has the sight.
func (s sight) message(m *message) bool {
	if m.only != "" {
		return m.only == s.key
	}
	return s.jobs || m.card != nil && m.card.By.Key() == s.key
}

// panel says whether the panel with a key is shown.
func (s sight) panel(key string) bool { return s.blind[key] == nil }
