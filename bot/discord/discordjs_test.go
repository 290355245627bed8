package discord_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pvebot/bot/discord/discordfake"
)

// discord.js, too, takes the fake for Discord. It must be installed first:
// npm install --prefix bot/discord/discordfake/testdata/discordjs
func TestDiscordJSTakesTheFakeForDiscord(t *testing.T) {
	script := filepath.Join("discordfake", "testdata", "discordjs")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node here")
	}
	if _, err := os.Stat(filepath.Join(script, "node_modules", "discord.js")); err != nil {
		t.Skip("discord.js is not installed")
	}
	const token = "MTIz.abc.def" // of the shape that discord.js wants
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := discordfake.New(discordfake.Config{Token: token})
	fake.Start(l)
	t.Cleanup(func() { _ = l.Close(); fake.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// It puts the version behind the address by itself.
	cmd := exec.CommandContext(ctx, node, filepath.Join(script, "smoke.mjs"), strings.TrimSuffix(fake.URL(), "/v10"), token)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if !said.Scan() || said.Text() != "ready" {
		t.Fatalf("it is not ready: %q\n%s", said.Text(), complaints.Bytes())
	}
	got, err := fake.Command(ctx, discordfake.Alice, discordfake.Ops, "show", opt("vm", "web-1"))
	for said.Scan() {
		t.Log(said.Text())
	}
	if werr := cmd.Wait(); err != nil || werr != nil || got.Kind != "deferred" {
		t.Fatalf("%+v, %v, %v\n%s", got, err, werr, complaints.Bytes())
	}
	if m := only(t, fake, discordfake.Ops); m.Text != "show web-1" {
		t.Errorf("the answer is %q", m.Text)
	}
}
