package commands_test

import (
	"errors"
	"fmt"

	"pvebot/commands"
	"pvebot/provision"
)

func ExampleParse() {
	r, _ := commands.Parse("@pvebot /vm install ubuntu24.04 \u2014ram 8gb")
	fmt.Println(commands.Format(r))

	_, err := commands.Parse("/vm instal ubuntu --cpu lots")
	if m, ok := errors.AsType[*commands.Mistake](err); ok {
		fmt.Println(m.Say)
		fmt.Println(m.Try)
	}
	// Output:
	// /vm install ubuntu 24.04 --ram 8G
	// there is no command instal; did you mean install?
	// /vm install ubuntu --cpu 2
}

func ExamplePolicy_Decide() {
	policy, err := commands.ParsePolicy([]byte(`
roles:
  admin: {members: slack/U1, allow: [{verbs: all, scope: all}]}
  dev: {members: slack/*, allow: [{verbs: [install, cancel]}]}
`))
	if err != nil {
		fmt.Println(err)
	}
	bob := provision.Actor{Platform: "slack", ID: "U2", Name: "bob"}
	alice := provision.Actor{Platform: "slack", ID: "U1", Name: "alice"}
	fmt.Println(policy.Decide(commands.Question{Actor: bob, Verb: "install"}).Rule)
	fmt.Println(policy.Decide(commands.Question{Actor: bob, Verb: "cancel", Target: &commands.Target{Owner: &alice}}).Say)
	fmt.Println(policy.Decide(commands.Question{Actor: alice, Verb: "destroy", Target: &commands.Target{Owner: &bob}}).Say)
	// Output:
	// role dev: install, cancel on own VMs
	// you may cancel only what is yours, and this belongs to alice
	// this waits for an approval by admin: to destroy other people's VMs needs one
}
