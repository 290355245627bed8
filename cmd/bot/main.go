// Command bot is pvebot: a chat-ops bot for Proxmox VE.
//
//	bot demo                       a simulated cluster and a chat page, nothing to install
//	bot demo "/vm install ubuntu"  one line on a simulated cluster, in the terminal
//	bot serve                      the real thing, set up by the environment
//	bot health                     how a bot that runs here is
//	bot bench                      how fast it is, on simulated clusters
//	bot images                     which nodes have which images; fetch, prune
//	bot sim                        a simulated cluster for others to drive
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"pvebot/cluster/pvesim"
	"pvebot/provision"
)

func main() {
	pvesim.Main() // on a simulated node this program is also qm, pvesh, ...
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{env: os.Environ(), dotenv: settingsFile(), in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if err := p.run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "bot:", complaint(err))
		}
		stop()
		os.Exit(1)
	}
}

// packageSettings is where the Debian package keeps its settings.
const packageSettings = "/etc/pvebot/pvebot.env"

// ofPackage are where the package's unit has its store, key and known hosts, by
// its own environment: whoever types a command beside it means the same ones,
// in whatever folder and as whoever they are.
var ofPackage = map[string]string{
	"STORE_URL":       "sqlite:/var/lib/pvebot/data",
	"SSH_KEY":         "/var/lib/pvebot/.ssh/id_ed25519",
	"SSH_KNOWN_HOSTS": "/var/lib/pvebot/.ssh/known_hosts",
}

// settingsFile is .env here, or the package's where that one can be read.
func settingsFile() string {
	const here = ".env"
	if _, err := os.Stat(here); errors.Is(err, fs.ErrNotExist) {
		if f, err := os.Open(packageSettings); err == nil {
			_ = f.Close()
			return packageSettings
		}
	}
	return here
}

// ownDotenv makes sure, as root, that file was written by root, or by who became
// root to call us: settings say whom to log in to, and which files to write. In
// somebody else's folder root would else do what they wrote down there.
func ownDotenv(file string, env map[string]string) error {
	info, err := os.Stat(file)
	if err != nil || os.Geteuid() != 0 {
		return nil //nolint:nilerr // who reads it says so
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.Mode().IsRegular(): // /dev/null
		return nil
	case of.Uid != 0 && fmt.Sprint(of.Uid) != env["SUDO_UID"]:
		return fmt.Errorf("%s belongs to the user with id %d, and root does not obey it: chown root it if it is right, or call this from another folder", file, of.Uid)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s can be written by everybody, and root does not obey it: chmod o-w it if it is right, or call this from another folder", file)
	}
	return nil
}

// complaint is an error with what to do about it, where that is known.
func complaint(err error) string {
	if e, ok := errors.AsType[*provision.Error](err); ok && e.Try != "" {
		return fmt.Sprintf("%v; %s", err, e.Try)
	}
	return err.Error()
}

// errTold says that the command failed and that people were told already.
var errTold = errors.New("failed")

// program is what the subcommands stand on; tests give it their own.
type program struct {
	env      []string // NAME=value
	dotenv   string   // file with further settings
	in       io.Reader
	out, err io.Writer
}

// run executes one command line.
func (p *program) run(ctx context.Context, args []string) error {
	root := p.command()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// command is the program with all its subcommands.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "bot",
		Short:         "pvebot, a chat-ops bot for Proxmox VE",
		Version:       versionName(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("pvebot {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		p.demoCommand(), p.serveCommand(), p.simCommand(), p.keepCommand(), p.nodesCommand(), p.imagesCommand(), p.gateCommand(), p.doctorCommand(),
		p.loginCommand(), p.manifestCommand(), p.healthCommand(), p.auditCommand(), p.policyCommand(), p.storeCommand(), p.benchCommand(),
		p.versionCommand(),
	)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	return root
}
