package discord

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pvebot/bot"
	"pvebot/commands"
	"pvebot/provision"
)

// Discord: the types of interactions, options, components and channels.
const (
	isCommand  = 2
	isClick    = 3
	isComplete = 4
	isSubmit   = 5

	optionSub  = 1
	optionUser = 6

	channelDM = 1
)

// interaction is what Discord sends of what somebody did. Only what is read
// here is decoded: what Discord adds can't break it.
type interaction struct {
	ID             string          `json:"id"`
	AppID          string          `json:"application_id"`
	Type           int             `json:"type"`
	Token          string          `json:"token"`
	GuildID        string          `json:"guild_id"`
	ChannelID      string          `json:"channel_id"`
	Channel        *channel        `json:"channel"`
	Member         *member         `json:"member"` // in servers
	User           *user           `json:"user"`   // elsewhere
	AppPermissions string          `json:"app_permissions"`
	Message        *clicked        `json:"message"`
	Data           interactionData `json:"data"`
}

// clicked is the message whose button was pressed.
type clicked struct {
	ID    string `json:"id"`
	Flags int    `json:"flags"`
}

type channel struct {
	Type int `json:"type"`
}

type member struct {
	User  *user    `json:"user"`
	Nick  string   `json:"nick"`
	Roles []string `json:"roles"`
}

type user struct {
	ID         string `json:"id"`
	Username   string `json:"username"`
	GlobalName string `json:"global_name"`
}

type interactionData struct {
	Name       string          `json:"name"`
	Options    []option        `json:"options"`
	CustomID   string          `json:"custom_id"`
	Components json.RawMessage `json:"components"`
}

type option struct {
	Name    string          `json:"name"`
	Type    int             `json:"type"`
	Value   json.RawMessage `json:"value"`
	Options []option        `json:"options"`
	Focused bool            `json:"focused"`
}

// text is an option's value as a field has it. Nothing is sure of its type: a
// number that is being typed comes as a string.
func (o option) text() string {
	var v any
	if json.Unmarshal(o.Value, &v) != nil {
		return ""
	}
	switch v := v.(type) {
	case string:
		if o.Type == optionUser {
			return "@" + v
		}
		return v
	case bool:
		if v {
			return "true"
		}
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return ""
	}
}

// event is an interaction: what the desk sees of it, and what only this
// package needs to answer it.
type event struct {
	in       bot.Inbound
	answer   *answer
	clicked  place  // the message whose button was pressed
	asks     string // the button asks "are you sure?" first; its id
	sure     bool   // the press of a "yes"
	foreign  bool   // it comes from another server than the bot's
	lacks    string // the permission without which no card can be shown here
	complete string // the line before what is being completed
}

// parse reads an interaction; nil when nobody here cares about it.
func (d *Discord) parse(raw json.RawMessage) (*event, error) {
	var i interaction
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, fmt.Errorf("interaction: %w", err)
	}
	who, name := i.person()
	if i.ID == "" || i.Token == "" || who == "" {
		return nil, errors.New("an interaction without an id, a token or a person")
	}
	e := &event{in: bot.Inbound{
		Platform: Platform, ID: i.ID, At: d.clock.Now(),
		By:    provision.Actor{Platform: Platform, ID: who, Name: name},
		Where: provision.Conversation{Platform: Platform, Channel: i.ChannelID},
	}}
	e.foreign = d.cfg.GuildID != "" && i.GuildID != "" && i.GuildID != d.cfg.GuildID
	if i.Member != nil {
		e.in.Roles = rolesOf(i.GuildID, i.Member.Roles)
	}
	back := reply{ID: i.ID, App: cmp.Or(i.AppID, d.app()), Token: i.Token, At: e.in.At, Channel: i.ChannelID, User: who}
	var verb string
	switch i.Type {
	case isCommand:
		name, fields := i.said()
		e.in.Kind, e.in.Text, verb = bot.Command, lineOf(name, fields), name
	case isComplete:
		var ok bool
		if e.complete, e.in.Text, ok = i.typing(); !ok {
			return nil, nil
		}
		e.in.Kind = bot.Complete
	case isClick:
		e.in.Kind = bot.Click
		e.in.Button, e.asks, e.sure = pressed(i.Data.CustomID)
		if i.Message != nil {
			e.clicked = place{Channel: i.ChannelID, Message: i.Message.ID}
			back.Own = i.Message.Flags&ephemeral != 0 || i.Channel != nil && i.Channel.Type == channelDM
		}
	case isSubmit:
		name, hidden := formOf(i.Data.CustomID)
		for field, value := range inputsOf(i.Data.Components) {
			hidden[field] = value
		}
		e.in.Kind, e.in.Form, e.in.Fields, verb = bot.Submit, name, hidden, name
	default:
		return nil, nil
	}
	back.Public = showsCard(verb)
	if back.Public {
		e.lacks = i.lacks()
	}
	e.answer = &answer{reply: back}
	var err error
	e.in.Reply, err = json.Marshal(back)
	return e, err
}

func (i interaction) person() (id, name string) {
	u, nick := i.User, ""
	if i.Member != nil {
		u, nick = i.Member.User, i.Member.Nick
	}
	if u == nil {
		return "", ""
	}
	return u.ID, cmp.Or(nick, u.GlobalName, u.Username)
}

// rolesOf are roles as policies name them. Who is in a server has its role of
// everybody, whose id is the server's.
func rolesOf(guild string, roles []string) []string {
	var out []string
	for _, r := range roles {
		out = append(out, Platform+":"+r)
	}
	if guild != "" {
		out = append(out, Platform+":"+guild)
	}
	return out
}

// said is the verb and its fields of a command.
func (i interaction) said() (verb string, fields commands.Fields) {
	fields = commands.Fields{}
	options := i.Data.Options
	for _, o := range options {
		if o.Type == optionSub {
			verb, options = o.Name, o.Options
		}
	}
	for _, o := range options {
		if o.Type != optionSub {
			fields[o.Name] = o.text()
		}
	}
	return verb, fields
}

// typing is the line that is being typed, and what of it stands before the
// value in focus; false when there is none.
func (i interaction) typing() (before, line string, ok bool) {
	verb, fields := i.said()
	v, known := commands.VerbOf(verb)
	if !known {
		return "", "", false
	}
	for _, sub := range i.Data.Options {
		for _, o := range sub.Options {
			if !o.Focused {
				continue
			}
			delete(fields, o.Name)
			before = lineOf(v.Name, fields) + " --" + o.Name + " "
			return before, before + o.text(), true
		}
	}
	return "", "", false
}

// showsCard reports whether the verb leads to a card that everybody sees; the
// answers to all others are for the asker alone.
func showsCard(verb string) bool {
	v, ok := commands.VerbOf(verb)
	if !ok || v.Reads {
		return false
	}
	return len(v.Args) == 0 || v.Args[0].Type != commands.TypeJob
}

// Discord: permissions, as bits.
const (
	administrator = 1 << 3 // has all others
	viewChannel   = 1 << 10
	sendMessages  = 1 << 11
	embedLinks    = 1 << 14
	attachFiles   = 1 << 15
	readHistory   = 1 << 16
	createThreads = 1 << 35
	sendInThreads = 1 << 38
)

// lacks is the permission without which a card can't be kept up to date there.
func (i interaction) lacks() string {
	has, err := strconv.ParseInt(i.AppPermissions, 10, 64)
	switch {
	case err != nil || has&administrator != 0:
		return ""
	case i.Channel != nil && i.Channel.Type == channelDM:
		return ""
	case has&viewChannel == 0:
		return "View Channel"
	case i.Channel != nil && isThread(i.Channel.Type):
		if has&sendInThreads == 0 {
			return "Send Messages in Threads"
		}
	case has&sendMessages == 0:
		return "Send Messages"
	}
	return ""
}

func isThread(kind int) bool { return kind >= 10 && kind <= 12 }

// lineOf is a command as a line: arguments by position as long as there are no
// gaps, everything else by name. It is read by commands.Parse.
func lineOf(verb string, fields commands.Fields) string {
	line := []string{quote(verb)}
	v, ok := commands.VerbOf(verb)
	if !ok {
		return line[0]
	}
	gap := false
	for _, p := range v.Args {
		switch text := fields[p.Name]; {
		case text == "":
			gap = true
		case gap:
			line = append(line, "--"+p.Name, quote(text))
		default:
			line = append(line, quote(text))
		}
	}
	for _, p := range v.Flags {
		switch text := fields[p.Name]; {
		case text == "":
		case p.Type == commands.TypeBool:
			line = append(line, "--"+p.Name)
		default:
			line = append(line, "--"+p.Name, quote(text))
		}
	}
	if p := commands.ClusterParam; v.Sited && fields[p.Name] != "" {
		line = append(line, "--"+p.Name, quote(fields[p.Name]))
	}
	return strings.Join(line, " ")
}

// quote makes text one word of a line.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/:+@-", r)
	}
	if text != "" && text[0] != '-' && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// inputsOf are the values of a form by the names of its fields, wherever they
// stand in it.
func inputsOf(raw json.RawMessage) map[string]string {
	out := map[string]string{}
	var tree any
	if json.Unmarshal(raw, &tree) != nil {
		return out
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			name, _ := v["custom_id"].(string)
			value, _ := v["value"].(string)
			if name != "" && value != "" {
				out[name] = value
			}
			walk(v["components"])
			walk(v["component"])
		}
	}
	walk(tree)
	return out
}

// epoch is the first millisecond of Discord's ids, in Unix time.
const epoch = 1420070400000

// bornAt is when an id was made; false for what is none.
func bornAt(id string) (time.Time, bool) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1<<22 {
		return time.Time{}, false
	}
	return time.UnixMilli(n>>22 + epoch), true
}
