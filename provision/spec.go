package provision

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Spec says what to do: plain data, one of a closed set (specs), equal after
// a trip through JSON.
type Spec interface {
	// Kind is the spec's stored name: install, destroy, ...
	Kind() string
	// Validate checks what needs no cluster: ranges and spelling. Its errors
	// are *Error of kind Invalid.
	Validate() error
	isSpec()
}

// Install makes and initialises one new VM. Zero values mean "the default";
// Engine.Prepare fills them in before the order is submitted.
type Install struct {
	OS       string `json:"os"`                // ubuntu, debian
	Version  string `json:"version"`           // 24.04, 12
	Name     string `json:"name,omitempty"`    // DNS name; default OS-VMID, e.g. ubuntu-101
	Cores    int    `json:"cores"`             // 2
	MemoryMB int    `json:"memory_mb"`         // MiB; 2048
	DiskMB   int64  `json:"disk_mb"`           // MiB; 16384
	Node     string `json:"node,omitempty"`    // default: placed by the bot
	Storage  string `json:"storage,omitempty"` // default: ASSIGN_STORAGE
	User     string `json:"user,omitempty"`    // default: the image's own
	Key      string `json:"key,omitempty"`     // an authorized_keys line
	Network  string `json:"network,omitempty"` // default: the one of the settings
	VMID     int    `json:"vmid,omitempty"`    // default: chosen by the allocator
	// NumberName appends -VMID to Name; without Name the VMID is the name.
	NumberName bool `json:"number_name,omitempty"`
	// PasswordHash is the user's password as crypt(3) hashes it, $5$ or $6$;
	// "" for none: only keys open the VM then.
	PasswordHash Secret `json:"password_hash,omitempty"`
	// TTL is how long the VM lives; 0: until somebody destroys it.
	TTL time.Duration `json:"ttl,omitempty"`
	// Several is for plans, and in no order.
	Several *Several `json:"several,omitempty"`
}

// Secret is text that is stored but never shown: fmt and slog write [hidden].
// Its JSON form is the text; Order.Public is for those who read along.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[hidden]"
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Kind implements Spec.
func (Install) Kind() string { return "install" }
func (Install) isSpec()      {}

// specs is the closed set: a new Spec gets its line here.
var specs = map[string]func(json.RawMessage) (Spec, error){
	"install":  decodeSpec[Install],
	"start":    decodeSpec[Power],
	"stop":     decodeSpec[Power],
	"shutdown": decodeSpec[Power],
	"reboot":   decodeSpec[Power],
	"set":      decodeSpec[Set],
	"destroy":  decodeSpec[Destroy],
	"migrate":  decodeSpec[Migrate],
	"snapshot": decodeSpec[Snapshot],
	"rollback": decodeSpec[Rollback],
	"clone":    decodeSpec[Clone],
	"extend":   decodeSpec[Extend],
	"adopt":    decodeSpec[Adopt],
	"trust":    decodeSpec[Trust],
	"drain":    decodeSpec[Drain],
	"remind":   decodeSpec[Remind],
}

// kinds are the kinds of specs that this version knows.
var kinds = slices.Sorted(maps.Keys(specs))

// claimable are the kinds as they are stored, in each form; jobs of others are
// left to a newer version.
var claimable = func() []string {
	var all []string
	for _, kind := range kinds {
		all = append(all, kind, kind+form2)
	}
	return all
}()

// Unknown is a spec of a kind that this version does not know: another one,
// which works on the same store, ordered it. It is kept as it is.
type Unknown struct{ kind, raw string }

// UnreadSpec is a spec of which only the kind can be read.
func UnreadSpec(kind string) Spec { return Unknown{kind: strings.TrimSuffix(kind, form2)} }

// Kind implements Spec.
func (s Unknown) Kind() string { return s.kind }
func (Unknown) isSpec()        {}

// Validate implements Spec.
func (s Unknown) Validate() error {
	return Errorf(Invalid, "this version of the bot does not know %q", s.kind)
}

// MarshalJSON writes the spec as it was read.
func (s Unknown) MarshalJSON() ([]byte, error) { return []byte(cmp.Or(s.raw, "null")), nil }

// storedSpec is UnmarshalSpec of what some version stored.
func storedSpec(data []byte) (Spec, error) {
	var e specEnvelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	plain := strings.TrimSuffix(e.Kind, form2)
	if _, known := specs[plain]; !known && plain != "" {
		return Unknown{e.Kind, string(e.Spec)}, nil
	}
	e.Kind = plain
	return e.open()
}

func decodeSpec[S Spec](raw json.RawMessage) (Spec, error) {
	var s S
	err := json.Unmarshal(raw, &s)
	return s, err
}

// specEnvelope is how a Spec is stored.
type specEnvelope struct {
	Kind string          `json:"kind"`
	Spec json.RawMessage `json:"spec"`
}

// MarshalSpec is the stored form of s.
func MarshalSpec(s Spec) ([]byte, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return json.Marshal(specEnvelope{Kind: s.Kind(), Spec: raw})
}

// UnmarshalSpec reads what MarshalSpec wrote.
func UnmarshalSpec(data []byte) (Spec, error) {
	var e specEnvelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	return e.open()
}

func (e specEnvelope) open() (Spec, error) {
	decode, ok := specs[e.Kind]
	if !ok {
		return nil, fmt.Errorf("spec of unknown kind %q", e.Kind)
	}
	s, err := decode(e.Spec)
	if err == nil && s.Kind() != e.Kind { // a Power that does something else
		return nil, fmt.Errorf("a spec of kind %q says it is %q", e.Kind, s.Kind())
	}
	return s, err
}
