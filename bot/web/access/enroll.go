package access

import (
	"fmt"
	"slices"
	"strings"

	"pvebot/commands"
)

// Enroll is policy with the actors of cfg in the roles that it gives them. A
// role that the policy does not have is an error. Where there are no tokens,
// and nobody else comes to the bot's port, this machine may do everything, or
// what API_LEGACY_ROLE may when that is set: whoever runs programs here is who
// runs the bot.
func Enroll(policy commands.Policy, cfg Config) (commands.Policy, error) {
	policy.Roles = slices.Clone(policy.Roles)
	for _, t := range cfg.Tokens {
		if err := enroll(policy, "API_TOKENS", t.Role, t.Name); err != nil {
			return policy, err
		}
	}
	if cfg.LegacyRole != "" {
		if err := enroll(policy, "API_LEGACY_ROLE", cfg.LegacyRole, legacyID); err != nil {
			return policy, err
		}
	}
	switch {
	case len(cfg.Tokens) > 0 || !cfg.trustsHere():
		return policy, nil
	case cfg.LegacyRole != "":
		return policy, enroll(policy, "API_LEGACY_ROLE", cfg.LegacyRole, localID)
	}
	policy.Roles = append(policy.Roles, commands.Role{
		Name:   "this-machine",
		People: []commands.Member{{Platform: Platform, ID: localID}},
		Allow:  []commands.Rule{{Verbs: []string{commands.AllVerbs}, Scope: commands.ScopeAll}},
	})
	return policy, nil
}

func enroll(policy commands.Policy, setting, role, id string) error {
	var names []string
	for i, r := range policy.Roles {
		if r.Name == role {
			policy.Roles[i].People = append(slices.Clip(r.People), commands.Member{Platform: Platform, ID: id})
			return nil
		}
		names = append(names, r.Name)
	}
	return fmt.Errorf("%s: the policy has no role %q; it has %s", setting, role, strings.Join(names, ", "))
}
