package bot

import (
	"crypto/rand"
	"fmt"
	"strings"

	"pvebot/provision"
)

// password is one that was made up for somebody: it is shown to them alone, and
// only its hash goes on.
type password struct {
	text string
	hash provision.Secret
}

// newPassword makes one of 80 random bits, in letters and digits that are on
// every keyboard, since a VM's console is where it is typed.
func newPassword() (password, error) {
	random := strings.ToLower(rand.Text())
	text := strings.Join([]string{random[:4], random[4:8], random[8:12], random[12:16]}, "-")
	hash, err := provision.HashPassword(text)
	return password{text, hash}, err
}

// card shows the password to who asked for job. A line that is heard again makes
// a new one that is not the job's; the right one was shown then.
func (p password) card(job provision.Job) Card {
	spec, ok := job.Order.Spec.(provision.Install)
	if !ok || spec.PasswordHash != p.hash {
		return noteCard(Plain, fmt.Sprintf("The password of job %d was shown when you asked for it, and is kept nowhere", job.ID))
	}
	return Card{
		Title: "Password", Tone: Plain,
		Text: fmt.Sprintf("%s\nIt is for the console, user %s. It is shown this once and kept nowhere; SSH takes keys only.", p.text, spec.User),
	}
}
