package commands

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Build makes the request that a form or a platform's typed options ask for.
// Fields go by the names of the verb's parameters; empty ones are not given.
// Its errors are those of Parse.
func Build(verb string, fields Fields) (Request, error) {
	r, m := table.fill(verb, fields)
	if m != nil {
		return nil, m
	}
	return r, nil
}

// fill is Build on any grammar.
func (g grammar) fill(verb string, fields Fields) (Request, *Mistake) {
	v := g.verb(verb)
	if v == nil {
		return nil, g.unknownVerb([]word{{Normalise(clip(verb)), -1}})
	}
	clean := Fields{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		m := &Mistake{Verb: v.Name, Param: name, Try: v.Examples[0]}
		text := fields[name]
		switch {
		case v.param(name) == nil:
			m.Say = fmt.Sprintf("%s has no field %s", v.Name, clip(Normalise(clip(name))))
			return nil, m
		case len(text) > MaxLine:
			m.Say = fmt.Sprintf("%s takes at most %d characters", name, MaxLine)
			m.Secret = secretRE.MatchString(text)
			return nil, m
		}
		text = Normalise(text)
		if secretRE.MatchString(text) {
			m = exposed(v.Name)
			m.Param, m.Try = name, v.Examples[0]
			return nil, m
		}
		if (word{text: text}).isPassword() && strings.Contains(text, "=") {
			m.Say, m.Secret = noPasswords, true
			return nil, m
		}
		if isPassword(name) && text != "" {
			if _, f := g.check(*v.param(name), text); f != nil {
				m.Say, m.Secret = noPasswords, true
				return nil, m
			}
		}
		if strange, ok := unreadable(text); ok {
			m.Say = strange
			return nil, m
		}
		if text != "" {
			clean[name] = text
		}
	}
	r, m := g.assemble(v, clean)
	if m != nil {
		m.Verb, m.Fields = v.Name, clean
		m.Try = g.mend(v, m.fix)
	}
	return r, m
}

// assemble checks fields and makes the verb's request of them. The mistake's
// fix is fields with the wrong one put right or left out.
func (g grammar) assemble(v *Verb, fields Fields) (Request, *Mistake) {
	vals := values{}
	params := v.Params()
	if v.Sited {
		params = append(params, ClusterParam)
	}
	for _, p := range params {
		raw, given := fields[p.Name]
		if !given {
			continue
		}
		val, f := g.check(p, raw)
		if f != nil {
			fix := maps.Clone(fields)
			if delete(fix, p.Name); f.fix != "" {
				fix[p.Name] = f.fix
			}
			if p.Type == TypeVersion && fields["password"] != "" { // probably one, where a version would stand
				return nil, &Mistake{Say: noPasswords, Param: p.Name, Secret: true, fix: fix}
			}
			return nil, &Mistake{Say: p.Label() + " " + f.say, Param: p.Name, fix: fix}
		}
		if val.text != "" {
			vals[p.Name] = val
		}
	}
	for _, p := range v.Params() {
		if _, given := fields[p.Name]; !given && p.Required {
			fix := maps.Clone(fields)
			fix[p.Name] = p.Example
			return nil, &Mistake{
				Say:     fmt.Sprintf("%s wants %s: %s", v.Name, p.Label(), lowerFirst(p.Summary)),
				Param:   p.Name,
				Missing: true,
				fix:     fix,
			}
		}
	}
	r, m := v.build(vals)
	if cluster := vals.text(ClusterParam.Name); cluster != "" && m == nil {
		r = At{r, cluster}
	}
	return r, m
}

// mend is the line for fields with all that is wrong put right: an example of
// the verb where that is beyond us.
func (g grammar) mend(v *Verb, fields Fields) string {
	for range 2 * (len(v.Args) + len(v.Flags) + 1) {
		r, m := g.assemble(v, fields)
		if m == nil {
			return g.format(r)
		}
		fields = m.fix
	}
	return v.Examples[0]
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
