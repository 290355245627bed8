package slack

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"pvebot/bot/slack/slackfake"
)

func TestManifest(t *testing.T) {
	raw := Manifest()
	if wrong := slackfake.CheckManifest(raw); wrong != nil {
		t.Errorf("Slack would refuse the manifest: %q", wrong)
	}
	const deployed = "../../deploy/slack-manifest.json"
	if *update {
		if err := os.WriteFile(deployed, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(deployed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, raw) {
		t.Errorf("%s is not what the program prints; go test -update writes it", deployed)
	}
	for scope := range wantedScopes {
		if !slices.Contains(scopes, scope) {
			t.Errorf("the manifest does not ask for %s, which Check wants", scope)
		}
	}
}

func TestManifestAt(t *testing.T) {
	raw, err := ManifestAt("https://bot.example.com/slack")
	if err != nil {
		t.Fatal(err)
	}
	if wrong := slackfake.CheckManifest(raw); wrong != nil {
		t.Errorf("Slack would refuse the manifest: %q", wrong)
	}
	if n := bytes.Count(raw, []byte("https://bot.example.com/slack")); n != 3 || !bytes.Contains(raw, []byte(`"socket_mode_enabled": false`)) {
		t.Errorf("the address is there %d times: %s", n, raw)
	}
	for _, bad := range []string{"", "http://bot.example.com/slack", "bot.example.com", "https://"} {
		if _, err := ManifestAt(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The check sees what is wrong.
func TestManifestCheckSees(t *testing.T) {
	for _, bad := range []string{
		strings.Replace(string(Manifest()), `"name": "pvebot"`, `"name": "`+strings.Repeat("x", 36)+`"`, 1),
		strings.Replace(string(Manifest()), `"display_name"`, `"displayname"`, 1),
		strings.Replace(string(Manifest()), `"should_escape": true`, `"should_escape": "yes"`, 1),
		"{", "{}",
	} {
		if slackfake.CheckManifest([]byte(bad)) == nil {
			t.Errorf("taken: %s", bad)
		}
	}
	if !json.Valid(Manifest()) {
		t.Error("the manifest is no JSON")
	}
}
