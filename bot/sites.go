package bot

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"pvebot/commands"
	"pvebot/provision"
)

// Site is a cluster that people can order in.
type Site struct {
	Name      string
	Engine    Engine
	Inventory provision.Inventory
}

// Sites are the clusters that a bot offers. The first is meant where nobody
// says which.
type Sites []Site

// Names are the clusters' names.
func (s Sites) Names() []string {
	var names []string
	for _, site := range s {
		names = append(names, site.Name)
	}
	return names
}

// at is the site called name, the first when name is "". The error is NotFound.
func (s Sites) at(name string) (Site, error) {
	for _, site := range s {
		if name == "" || site.Name == name {
			return site, nil
		}
	}
	if len(s) <= 1 {
		return Site{}, provision.Errorf(provision.NotFound, "there is no cluster %s; there is only one, and nobody needs to say which", name)
	}
	return Site{}, &provision.Error{
		Kind: provision.NotFound, Say: fmt.Sprintf("there is no cluster %s; I know %s", name, strings.Join(s.Names(), ", ")),
		Try: "--cluster " + s[0].Name,
	}
}

// at is c for one cluster; "" is the one that it is for already, else the
// first.
func (c *Clerk) at(cluster string) (*Clerk, error) {
	if cluster == "" && (c.cluster != "" || len(c.Sites) == 0) {
		return c, nil
	}
	site, err := c.Sites.at(cluster)
	if err != nil {
		return nil, err
	}
	here := *c
	here.Engine, here.cluster = site.Engine, site.Name
	return &here, nil
}

// of is c for the cluster that a job is about.
func (c *Clerk) of(job provision.Job) (*Clerk, error) {
	if len(c.Sites) <= 1 {
		return c.at("") // also where it had another name once
	}
	return c.at(job.Order.Cluster)
}

// text is a request as it is written down: with the cluster, where there are
// several.
func (c *Clerk) text(req commands.Request) string {
	if v, ok := commands.VerbOf(req.Verb()); ok && v.Sited && len(c.Sites) > 1 {
		req = commands.At{Request: req, Cluster: c.cluster}
	}
	return commands.Format(req)
}

// counter is where a desk serves those who want something of one cluster.
type counter struct {
	*Desk
	cluster   string
	engine    Engine
	inventory provision.Inventory
	clerk     *Clerk
}

// counterFor is the counter for what somebody asked: of the cluster that the
// request names, else of the one that the channel is about.
func (d *Desk) counterFor(in Inbound, req commands.Request) (counter, commands.Request, error) {
	what, named := commands.Site(req)
	at, err := d.counterAt(cmp.Or(named, d.channels[in.Where]))
	return at, what, err
}

func (d *Desk) counterAt(cluster string) (counter, error) {
	site, err := d.sites.at(cluster)
	if err != nil {
		return counter{}, err
	}
	clerk, err := d.clerk.at(site.Name)
	return counter{d, site.Name, site.Engine, site.Inventory, clerk}, err
}

// counterOf is the counter for the cluster that a job is about.
func (d *Desk) counterOf(job provision.Job) (counter, error) {
	if !d.several() {
		return d.counterAt("") // also where it had another name once
	}
	return d.counterAt(job.Order.Cluster)
}

// asker is who sent in, and wants something of this cluster.
func (d counter) asker(in Inbound) Asker {
	a := d.Desk.asker(in)
	a.Cluster = d.cluster
	return a
}

// help is the answer to help, with the clusters where people have to know
// them.
func (d counter) help(ctx context.Context, topic string) Card {
	images, _ := d.inventory.Images(ctx) // without them help tells no versions
	c := helpCard(topic, images)
	if v, known := commands.VerbOf(topic); d.several() && (v.Sited || !known) {
		c.Lines = append(c.Lines, "There are several clusters: "+strings.Join(d.sites.Names(), ", ")+". Say which with "+commands.ClusterParam.Label()+".")
	}
	return c
}

// form is the dialog for a verb; it asks for the cluster where there are
// several.
func (d *Desk) form(ctx context.Context, in Inbound, v commands.Verb, known commands.Fields) *Form {
	at, err := d.counterAt(cmp.Or(known[commands.ClusterParam.Name], d.channels[in.Where]))
	if err != nil {
		at, _ = d.counterAt("") // there is always one; the form shows what there is
	}
	f := formOf(ctx, v, known, at.inventory)
	if d.several() && v.Sited {
		p := commands.ClusterParam
		field := FormField{Name: p.Name, Label: capital(p.Name), Hint: p.Summary, Value: at.cluster}
		for _, name := range d.sites.Names() {
			field.Options = append(field.Options, Choice{Label: name, Value: name})
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

// several reports whether people have to tell clusters apart.
func (d *Desk) several() bool { return len(d.sites) > 1 }

// narrow is the cluster to which a look into the past is narrowed: none where
// there is only one, which may have had another name once.
func (d counter) narrow() string {
	if !d.several() {
		return ""
	}
	return d.cluster
}

// titled adds to a title where it is about, if that needs to be said.
func (d counter) titled(c Card) Card {
	if d.several() && c.Title != "" {
		c.Title += " in " + d.cluster
	}
	return c
}

// orderedIn is the cluster that an order's text names: it does where there are
// several.
func orderedIn(o provision.Order) string {
	req, err := commands.Parse(o.Text)
	if err != nil {
		return ""
	}
	_, cluster := commands.Site(req)
	return cluster
}
