package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
	"pvebot/provision"
	"pvebot/provision/sqlstore"
	"pvebot/provision/sqlstore/pgtest"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	if os.Getenv(childServes) != "" { // testscript's copy of the program would outlive a kill
		os.Exit(m.Run())
	}
	// These tests mostly wait for other processes; -parallel says otherwise.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(simtest.Main{M: m}, map[string]func(){"bot": main})
}

// TestScripts runs the program's manual: one file per subject.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(cond string) (bool, error) {
			if cond != "postgres" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			return os.Getenv("TEST_POSTGRES_URL") != "", nil
		},
		Setup: func(e *testscript.Env) error {
			// A race detector's exit takes a second, unless told otherwise.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv(simtest.Program, os.Getenv(simtest.Program))
			found(e)
			deploy, err := filepath.Abs("../../deploy")
			e.Setenv("DEPLOY", deploy)
			if os.Getenv("TEST_POSTGRES_URL") != "" && strings.HasSuffix(e.WorkDir, "script-store") {
				e.Setenv("POSTGRES", pgtest.URL(t))
			}
			return err
		},
		Cmds: manual,
	})
}

// TestKill kills a bot in the middle of an install, again and again, and looks
// whether the next one ends it: once, and with nothing left behind.
func TestKill(t *testing.T) {
	t.Parallel()
	sim := pvesim.Start(t, pvesim.Options{})
	dir := t.TempDir()
	env := append(sim.Env(), "STORE_URL=sqlite:"+dir, "PORT=0", "ADMINS=web:local", "LOG_LEVEL=error", "HOME="+dir)
	serve := func() *exec.Cmd {
		t.Helper()
		cmd := serveCommand(t, env)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "the page is at") {
				go func() { // the pipe must not fill up
					for lines.Scan() {
					}
				}()
				return cmd
			}
		}
		t.Fatal("the bot did not come up")
		return nil
	}

	submit(t, dir)
	// Each command on a node is a moment to die at.
	commands := make(chan struct{}, 100)
	sim.OnCommand(func(pvesim.Ran) {
		select {
		case commands <- struct{}{}:
		default:
		}
	})
	// Each life is one command longer than the one before.
	for life := 1; life <= 14 && !look(t, dir).State.Final(); life++ {
		for len(commands) > 0 { // of a life that has ended
			<-commands
		}
		cmd := serve()
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		for range life {
			select {
			case <-commands:
				continue
			case <-time.After(2 * time.Second): // it has ended the job meanwhile
			}
			break
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-gone
	}
	cmd := serve()
	job := settle(t, dir)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a bot that was asked to end said %v", err)
	}
	if job.State != provision.StateSucceeded {
		t.Fatalf("the job %s: %+v", job.State, job.Problem)
	}
	made := 0
	for _, v := range sim.VMs() {
		if strings.Contains(v.Options["tags"], "pvebot") {
			made++
		}
	}
	if orphans := sim.Orphans(); made != 1 || len(orphans) > 0 {
		t.Errorf("there are %d VMs and the orphans %v", made, orphans)
	}
}

// serveCommand is a bot in a process of its own.
func serveCommand(t *testing.T, env []string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServeChild$")
	cmd.Env = append(slices.Clone(env), childServes+"=1", simtest.Program+"="+os.Getenv(simtest.Program),
		"GORACE=atexit_sleep_ms=0", "PATH="+os.Getenv("PATH"))
	return cmd
}

// TestServeChild is the bot of serveCommand.
func TestServeChild(t *testing.T) {
	if os.Getenv(childServes) == "" {
		t.Skip("only in a process of another test")
	}
	furnish()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	defer notify(stop)()
	p := program{env: os.Environ(), dotenv: os.DevNull, out: os.Stdout, err: os.Stderr}
	if err := p.run(ctx, []string{"serve"}); err != nil {
		t.Fatal(err)
	}
}

func submit(t *testing.T, dir string) {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+dir, sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	e := provision.NewEngine(provision.Config{Store: store, Cluster: named("sim")})
	_, err = e.Submit(t.Context(), provision.Order{
		Key: "kill", By: provision.Actor{Platform: "test", ID: "1"}, OnFailure: provision.OnFailureAsk,
		Spec: provision.Install{OS: "ubuntu", Version: "24.04", Cores: 2, MemoryMB: 2048, DiskMB: 16384, User: "ubuntu", Storage: "local-lvm"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// look reads the job beside the bot that owns the store.
func look(t *testing.T, dir string) provision.Job {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+dir, sqlstore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	job, err := store.Job(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func settle(t *testing.T, dir string) provision.Job {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite:"+dir, sqlstore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, err := range store.Follow(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		job, err := store.Job(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if job.State.Final() || job.State == provision.StateParked {
			return job
		}
	}
	return provision.Job{}
}

// All that is missing is told at once, with what to do.
func TestMissingSettings(t *testing.T) {
	_, err := readConfig(nil, os.DevNull)
	if err == nil {
		t.Fatal("a bot without settings would run")
	}
	for _, want := range []string{"MAIN_NODE", "GATEWAY", "ASSIGN_STORAGE", "NODE_<name>"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not asked for:\n%v", want, err)
		}
	}
}

// .env gives what the environment does not.
func TestDotenv(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	text := "MAIN_NODE=pve1\nGATEWAY=10.0.0.1\nASSIGN_STORAGE=a\nNODE_pve1=10.0.0.11\nNODE_pve2=10.0.0.12\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig([]string{"ASSIGN_STORAGE=b", "NODE_pve2=10.0.0.22"}, file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Storage != "b" || c.MainNode != "pve1" || c.Nodes["pve1"] != "10.0.0.11" || c.Nodes["pve2"] != "10.0.0.22" {
		t.Errorf("read %+v", c)
	}
}

// The operator's images and groups are read with the settings, and what is
// wrong in them is told with the rest.
func TestImageSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.yaml")
	text := "- os: arch\n  version: \"1\"\n  url: https://a.example/b.qcow2\n  sums: https://a.example/S\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"MAIN_NODE=pve1", "GATEWAY=10.0.0.1", "ASSIGN_STORAGE=a", "NODE_pve1=10.0.0.11", "NODE_pve2=10.0.0.12"}
	c, err := readConfig(append(environ, "IMAGES_FILE="+file, "IMAGE_MIRRORS=https://a.example/=http://mirror.lan/a/", "MIGRATION_GROUPS=pve2; pve1"), os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.catalogue()
	if err != nil {
		t.Fatal(err)
	}
	if i, err := all.Find("arch", ""); err != nil || i.URL != "http://mirror.lan/a/b.qcow2" || i.Sums != "http://mirror.lan/a/S" {
		t.Errorf("%+v, %v", i, err)
	}
	if groups, err := c.groups(); err != nil || len(groups) != 2 || groups[1][0] != "pve1" {
		t.Errorf("%v, %v", groups, err)
	}
	for setting, want := range map[string]string{
		"NETWORKS_FILE=/nowhere":   "NETWORKS_FILE: /nowhere: there is no such file",
		"NETWORKS_FILE=" + file:    "NETWORKS_FILE: " + file + ":",
		"IMAGES_FILE=/nowhere":     "IMAGES_FILE: /nowhere",
		"IMAGE_MIRRORS=mirror.lan": `IMAGE_MIRRORS has "mirror.lan"`,
		"MIGRATION_GROUPS=pve7":    `MIGRATION_GROUPS: there is no node "pve7"; there are pve1, pve2`,
	} {
		if _, err := readConfig(append(environ, setting), os.DevNull); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// Every command that the README shows is one that the program has.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^(?:go run \./cmd/bot|bot) ([a-z]+)`).FindAllStringSubmatch(string(text), -1)
	if len(found) < 2 {
		t.Fatal("the README shows no commands")
	}
	for _, f := range found {
		p := program{out: new(strings.Builder), err: new(strings.Builder)}
		if err := p.run(t.Context(), []string{f[1], "--help"}); err != nil {
			t.Errorf("bot %s: %v", f[1], err)
		}
	}
}

// A stranger's error is not swallowed by the end of a run.
func TestUnlessDone(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	other := errors.New("disk full")
	for _, tt := range []struct {
		ctx       context.Context
		err, want error
	}{
		{ended, context.Canceled, nil},
		{ended, other, other},
		{t.Context(), context.Canceled, context.Canceled},
		{t.Context(), nil, nil},
	} {
		if got := unlessDone(tt.ctx, tt.err); got != tt.want { //nolint:errorlint // the very error
			t.Errorf("unlessDone(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}
