package discord

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/bwmarrin/discordgo"

	"pvebot/commands"
)

// commandName is the one command; verbs are its subcommands.
const commandName = "vm"

// Commands are what Discord is told of the grammar. Where there are several
// clusters, commands ask which is meant.
func Commands(clusters ...string) []*discordgo.ApplicationCommand {
	vm := &discordgo.ApplicationCommand{
		Type: discordgo.ChatApplicationCommand, Name: commandName, Description: "Virtual machines on Proxmox VE",
	}
	for _, v := range commands.Verbs() {
		sub := &discordgo.ApplicationCommandOption{
			Type: discordgo.ApplicationCommandOptionSubCommand, Name: v.Name, Description: v.Summary,
		}
		// Discord wants the required ones first.
		var optional []*discordgo.ApplicationCommandOption
		for _, p := range v.Params() {
			if o := optionOf(p); o.Required {
				sub.Options = append(sub.Options, o)
			} else {
				optional = append(optional, o)
			}
		}
		if v.Sited && len(clusters) > 1 {
			optional = append(optional, optionOf(commands.ClusterParam))
		}
		sub.Options = append(sub.Options, optional...)
		vm.Options = append(vm.Options, sub)
	}
	return []*discordgo.ApplicationCommand{vm}
}

// optionOf is a parameter as an option.
func optionOf(p commands.Param) *discordgo.ApplicationCommandOption {
	o := &discordgo.ApplicationCommandOption{
		Type: discordgo.ApplicationCommandOptionString, Name: p.Name, Description: p.Summary,
		// Without an OS a form opens; Discord would not let it come to that.
		Required: p.Required && p.Type != commands.TypeOS,
	}
	switch p.Type {
	case commands.TypeInt:
		o.Type = discordgo.ApplicationCommandOptionInteger
		least := float64(p.Min)
		o.MinValue, o.MaxValue = &least, float64(p.Max)
	case commands.TypeBool:
		o.Type = discordgo.ApplicationCommandOptionBoolean
	case commands.TypePerson:
		o.Type = discordgo.ApplicationCommandOptionUser
	case commands.TypeEnum:
		for _, c := range p.Choices {
			o.Choices = append(o.Choices, &discordgo.ApplicationCommandOptionChoice{Name: c, Value: c})
		}
	case commands.TypeKey, commands.TypeText, commands.TypeName, commands.TypeUser, commands.TypeSnapshot:
	default:
		o.Autocomplete = true
	}
	return o
}

// wire is a command as it is sent and compared: what discordgo's type can't
// leave out is left out.
type wire struct {
	Type        int      `json:"type,omitempty"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Required    bool     `json:"required,omitempty"`
	Complete    bool     `json:"autocomplete,omitempty"`
	Choices     []choice `json:"choices,omitempty"`
	Min         *float64 `json:"min_value,omitempty"`
	Max         float64  `json:"max_value,omitempty"`
	Options     []wire   `json:"options,omitempty"`
	Contexts    *[]int   `json:"contexts,omitempty"`
}

type choice struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

func wireOf(all []*discordgo.ApplicationCommand) []wire {
	var out []wire
	for _, c := range all {
		out = append(out, wire{Type: int(c.Type), Name: c.Name, Description: c.Description, Options: wireOptions(c.Options)})
	}
	return out
}

func wireOptions(options []*discordgo.ApplicationCommandOption) []wire {
	var out []wire
	for _, o := range options {
		w := wire{
			Type: int(o.Type), Name: o.Name, Description: o.Description, Required: o.Required, Complete: o.Autocomplete,
			Min: o.MinValue, Max: o.MaxValue, Options: wireOptions(o.Options),
		}
		for _, c := range o.Choices {
			w.Choices = append(w.Choices, choice{c.Name, c.Value})
		}
		out = append(out, w)
	}
	return out
}

func hashOf(all []wire) string {
	for i := range all {
		all[i].Contexts = nil // not there for the commands of a server
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// register tells Discord the commands, if it does not know them as they are.
func (d *Discord) register(ctx context.Context) error {
	path := "/applications/" + d.app()
	if d.cfg.GuildID != "" {
		path += "/guilds/" + d.cfg.GuildID
	}
	path += "/commands"
	var known []wire
	if err := d.call(ctx, request{what: "ask for the commands", method: http.MethodGet, path: path, again: true}, &known); err != nil {
		return err
	}
	want := wireOf(Commands(d.cfg.Clusters...))
	if hashOf(known) == hashOf(want) {
		return nil
	}
	if d.cfg.GuildID == "" {
		for i := range want {
			want[i].Contexts = &[]int{0} // servers only
		}
	}
	if err := d.call(ctx, request{what: "register the commands", method: http.MethodPut, path: path, body: want, again: true}, nil); err != nil {
		return err
	}
	d.log.InfoContext(ctx, "registered the commands", "server", d.cfg.GuildID)
	return nil
}

// keepCommands registers until it works.
func (r *run) keepCommands(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		err := r.d.register(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			r.d.log.WarnContext(ctx, "can't register the commands; trying again", "err", err)
		}
		_ = r.d.clock.Sleep(ctx, backoff(n, err)+time.Duration(n)*time.Minute)
	}
}
