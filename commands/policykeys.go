package commands

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"pvebot/cluster/textfile"
)

// otherWords are what people write for keys that are called otherwise.
var otherWords = map[string]string{
	"memory": "ram", "mem": "ram", "cpu": "cores", "cpus": "cores", "storage": "disk", "count": "vms", "users": "members", "user": "members",
	"permissions": "allow", "rules": "allow", "approvers": "of", "by": "of", "roles": "of", "votes": "need", "expiry": "expires", "ttl": "expires",
	"node": "nodes", "tag": "tags", "verb": "verbs", "cluster": "clusters", "quota": "quotas", "role": "roles", "group": "groups",
}

// keysOf are the keys of a part of the file, in its order; nil when it has none
// of its own.
func keysOf(t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for f := range t.Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// checkKeys says which keys below node are not those of t, all of them.
func checkKeys(node ast.Node, t reflect.Type) []error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	var wrong []error
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			wrong = append(wrong, checkPair(pair, t)...)
		}
	case *ast.MappingValueNode:
		return checkPair(n, t)
	case *ast.SequenceNode:
		if t.Kind() == reflect.Slice {
			for _, item := range n.Values {
				wrong = append(wrong, checkKeys(item, t.Elem())...)
			}
		}
	}
	return wrong
}

func checkPair(pair *ast.MappingValueNode, t reflect.Type) []error {
	key := pair.Key.GetToken()
	switch {
	case pair.Key.IsMergeKey():
		return nil
	case t.Kind() == reflect.Map:
		return checkKeys(pair.Value, t.Elem())
	case t.Kind() != reflect.Struct:
		return nil // it wants something else than keys, and will say so
	}
	for f := range t.Fields() {
		if f.Tag.Get("yaml") == key.Value {
			return checkKeys(pair.Value, f.Type)
		}
	}
	return []error{&textfile.Error{Line: key.Position.Line, Say: "there is no key " + clip(key.Value) + " here", Try: keyHint(key.Value, t)}}
}

// keyHint says what was meant by a key, and what is known where it stands.
func keyHint(key string, t reflect.Type) string {
	known := keysOf(t)
	hint := "known here: " + strings.Join(known, ", ")
	meant := otherWords[strings.ToLower(key)]
	switch near := Nearest(key, known); {
	case near != "":
		return fmt.Sprintf("did you mean %s? %s", near, hint)
	case slices.Contains(known, meant):
		return fmt.Sprintf("did you mean %s? %s", meant, hint)
	}
	if where := homes(key); where != "" {
		return fmt.Sprintf("it goes %s; %s", where, hint)
	}
	return hint
}

// homes are the places that have a key, in words; "" for none.
func homes(key string) string {
	var where []string
	for _, p := range []struct {
		t  reflect.Type
		in string
	}{
		{reflect.TypeFor[policyFile](), "at the top of the file"},
		{reflect.TypeFor[roleFile](), "into a role"},
		{reflect.TypeFor[ruleFile](), "into a rule under allow: allow: [{verbs: read, scope: all}]"},
		{reflect.TypeFor[approvalFile](), "into an approval: approvals: [{verbs: destroy, of: [admin]}]"},
		{reflect.TypeFor[quotasFile](), "under quotas"},
		{reflect.TypeFor[limitsFile](), "under person or total of quotas"},
	} {
		if slices.Contains(keysOf(p.t), key) {
			where = append(where, p.in)
		}
	}
	return strings.Join(where, ", or ")
}
