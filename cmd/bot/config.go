package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"pvebot/alloc"
	"pvebot/cluster"
	"pvebot/cluster/textfile"
	"pvebot/provision"
)

// config is the environment, as `bot serve` reads it. The names of the older
// system's settings are kept.
type config struct {
	Cluster       string   `env:"CLUSTER" envDefault:"pve"`
	Clusters      []string `env:"CLUSTERS"` // where there are several; see site
	MainNode      string   `env:"MAIN_NODE"`
	Gateway       string   `env:"GATEWAY"`
	Storage       string   `env:"ASSIGN_STORAGE"`
	AssignIPStart int      `env:"ASSIGN_IP_START" envDefault:"100"`
	AssignIPEnd   int      `env:"ASSIGN_IP_END" envDefault:"254"`
	Bridge        string   `env:"BRIDGE" envDefault:"vmbr0"`
	Nameserver    string   `env:"NAMESERVER"`
	NetworksFile  string   `env:"NETWORKS_FILE"`

	MaxCPU     int   `env:"VM_MAX_CPU"`     // 0: no limit, as below
	MaxRAM     int   `env:"VM_MAX_RAM"`     // MB
	MaxDisk    int64 `env:"VM_MAX_DISK"`    // GB
	BalloonMin int   `env:"VM_BALLOON_MIN"` // MB

	Listen     string   `env:"LISTEN" envDefault:"127.0.0.1"`
	Port       int      `env:"PORT" envDefault:"8080"`
	StoreURL   string   `env:"STORE_URL" envDefault:"sqlite:data"`
	Admins     []string `env:"ADMINS"`
	PolicyFile string   `env:"POLICY_FILE"`

	SSHUser      string        `env:"SSH_USER" envDefault:"root"`
	SSHKey       string        `env:"SSH_KEY"`
	KnownHosts   string        `env:"SSH_KNOWN_HOSTS"`
	AdminKeys    string        `env:"ADMIN_KEYS_FILE"`
	GuestVia     string        `env:"GUEST_VIA" envDefault:"node"`
	PVEEtc       string        `env:"PVE_ETC" envDefault:"/etc/pve"`
	RunDir       string        `env:"RUN_DIR" envDefault:"/run/pvebot"`
	BootIDFile   string        `env:"BOOT_ID_FILE"`
	ImageDir     string        `env:"IMAGE_DIR" envDefault:"/var/lib/pvebot/images"`
	ImageStorage string        `env:"IMAGE_STORAGE"` // "": any with the content import; none: IMAGE_DIR
	ImageRefresh time.Duration `env:"IMAGE_REFRESH" envDefault:"24h"`
	ImagesFile   string        `env:"IMAGES_FILE"`
	Mirrors      string        `env:"IMAGE_MIRRORS"`    // FROM=TO,...
	Groups       string        `env:"MIGRATION_GROUPS"` // pve1,pve2;pve3
	Timezone     string        `env:"VM_TIMEZONE"`
	Locale       string        `env:"VM_LOCALE"`
	SwapMB       int           `env:"VM_SWAP_MB"`
	Packages     string        `env:"VM_PACKAGES"` // names, between blanks
	Upgrade      bool          `env:"VM_UPGRADE"`
	OnBoot       bool          `env:"VM_ONBOOT"`
	Stall        time.Duration `env:"GUEST_STALL" envDefault:"5m"` // nothing moved in a guest for so long: it is given up

	RootPassword provision.Secret `env:"VM_ROOT_PASSWORD"` // "" as soon as it is hashed
	RootHash     provision.Secret `env:"-"`

	LogFormat string `env:"LOG_FORMAT" envDefault:"text"`
	LogLevel  string `env:"LOG_LEVEL" envDefault:"info"`
	Workers   int    `env:"WORKERS" envDefault:"64"`
	BotVMID   int    `env:"BOT_VMID"` // the VM that the bot or its database runs in; 0: none

	Web    webSettings
	Chat   chatSettings
	Traces traceSettings
	Kept   keptSettings

	Nodes map[string]string // from NODE_<name>=host[:port]

	unread   []string // what is wrong with values that could not be read, and were left out
	misspelt []string // names that are probably settings with a typing mistake
	dotenv   string   // the file of settings; "": there is none

	sites []site        // of CLUSTERS; see offered
	port  bool          // PORT was set for this cluster, and not for all of several: a bot that only works answers there
	clock cluster.Clock // nil: the machine's; tests have their own
	log   *slog.Logger  // of the nodes' connections; nil: nobody listens
}

// nodePrefix begins the settings that name the nodes.
const nodePrefix = "NODE_"

// ofNodeJS are settings that begin like ours and belong to Node.js: many a
// machine has some.
var ofNodeJS = regexp.MustCompile(`^(ENV|PATH|OPTIONS|VERSION|HOME|DEBUG|NO_WARNINGS|EXTRA_CA_CERTS|TLS_[A-Z_]+|USE_[A-Z_]+|REPL_[A-Z_]+|V8_COVERAGE)$`)

// readConfig reads the settings from environ, and from .env beside the program's
// working directory for what environ does not have. All that is missing or
// wrong is told in one error.
func readConfig(environ []string, dotenv string) (config, error) {
	c, err := gather(environ, dotenv)
	if err != nil {
		return config{}, err
	}
	return c, c.check()
}

// readVars reads the settings and does not ask whether they are complete.
func readVars(environ []string, dotenv string) (config, error) {
	c, err := gather(environ, dotenv)
	if err == nil && len(c.unread) > 0 {
		err = &incompleteError{c.unread}
	}
	return c, err
}

// gather reads the settings that can be read. What can't be is noted in them, for
// those who tell all that is wrong at once.
func gather(environ []string, dotenv string) (config, error) {
	vars := env.ToMap(environ)
	if err := ownDotenv(dotenv, vars); err != nil {
		return config{}, err
	}
	file, err := readDotenv(dotenv)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return config{}, fmt.Errorf("the settings can't be read: %w", err)
	}
	for name, value := range file {
		if _, ok := vars[name]; !ok {
			vars[name] = value
		}
	}
	if dotenv == packageSettings {
		for name, value := range ofPackage {
			if vars[name] == "" {
				vars[name] = value
			}
		}
	}
	unread := takeUnreadable(vars)
	c, err := parseVars(vars)
	if err != nil {
		return config{}, err
	}
	c.unread = unread
	if err := c.readSites(vars); err != nil {
		return config{}, err
	}
	if file != nil {
		c.dotenv = dotenv
	}
	inFile := func(name string) bool { _, ok := file[name]; return ok }
	c.misspelt = misspelt(vars, inFile, c.Clusters)
	return c, nil
}

// parseVars reads the settings of one cluster. Their values have been looked at:
// an error is a mistake of the program.
func parseVars(vars map[string]string) (config, error) {
	var c config
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		return config{}, err
	}
	c.port = vars["PORT"] != ""
	c.Nodes = map[string]string{}
	for name, value := range vars {
		if node, ok := strings.CutPrefix(name, nodePrefix); ok && node != "" && !ofNodeJS.MatchString(node) {
			c.Nodes[node] = value
		}
	}
	return c, nil
}

// check lists everything that is missing or wrong, with what to do.
func (c *config) check() error {
	wrong := slices.Concat(c.unread, c.checkSites())
	wrong = append(wrong, c.Web.check(c.Listen)...)
	wrong = append(wrong, c.Chat.check()...)
	wrong = append(wrong, c.Traces.check()...)
	wrong = append(wrong, c.Kept.check()...)
	if _, err := c.logger(io.Discard); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) == 0 {
		return nil
	}
	return &incompleteError{slices.Concat(wrong, c.misspelt)}
}

// checkCluster is check for what is about the cluster.
func (c *config) checkCluster() []string {
	wrong := c.checkNumbers()
	need := func(value, name, what string) {
		if value == "" {
			wrong = append(wrong, fmt.Sprintf("%s is not set: %s", name, what))
		}
	}
	need(c.MainNode, "MAIN_NODE", "the name of the node to ask first, e.g. pve1")
	need(c.Gateway, "GATEWAY", "the gateway of the VMs' network, e.g. 192.168.0.1")
	need(c.Storage, "ASSIGN_STORAGE", "the storage for VM disks, e.g. local-lvm")
	if len(c.Nodes) == 0 {
		wrong = append(wrong, "NODE_<name> is not set: one for each node with its address, e.g. NODE_pve1=192.168.0.11")
	} else if _, ok := c.Nodes[c.MainNode]; !ok && c.MainNode != "" {
		wrong = append(wrong, fmt.Sprintf("MAIN_NODE is %s, but there is no NODE_%s; there are %s",
			c.MainNode, c.MainNode, strings.Join(slices.Sorted(maps.Keys(c.Nodes)), ", ")))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Nodes)) {
		if c.Nodes[name] == "" && isHere(name) {
			continue // nothing goes there
		}
		if said := checkNodeAddr(name, c.Nodes[name]); said != "" {
			wrong = append(wrong, said)
		}
	}
	if c.Gateway != "" {
		pool, err := c.pool()
		if err == nil {
			_, err = c.networks(pool)
		}
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if _, err := c.catalogue(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if _, err := c.groups(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if _, err := c.adminKeys(); err != nil {
		wrong = append(wrong, strings.Split(err.Error(), "\n")...)
	}
	if c.GuestVia != "node" && c.GuestVia != "direct" {
		wrong = append(wrong, fmt.Sprintf("GUEST_VIA is %q: it is node (through the node's SSH) or direct", c.GuestVia))
	}
	if c.RootPassword != "" {
		var err error
		if c.RootHash, err = provision.HashPassword(string(c.RootPassword)); err != nil {
			wrong = append(wrong, "VM_ROOT_PASSWORD: "+err.Error())
		}
		c.RootPassword = ""
	}
	return wrong
}

// incompleteError lists the settings that are missing or wrong.
type incompleteError struct{ wrong []string }

func (e *incompleteError) Error() string {
	return "the settings are not complete; set these in the environment or in .env:\n  " + strings.Join(e.wrong, "\n  ")
}

func (c *config) pool() (alloc.Pool, error) {
	return alloc.NewPool(c.Gateway, c.AssignIPStart, c.AssignIPEnd)
}

// where says where the bot finds its things on the nodes.
func (c *config) where() cluster.Config {
	return cluster.Config{Name: c.Cluster, PVEEtc: c.PVEEtc, RunDir: c.RunDir, BootIDFile: c.BootIDFile}
}

// networks are those of the operator's file, beside the default one.
func (c *config) networks(def alloc.Pool) ([]provision.Network, error) {
	if c.NetworksFile == "" {
		return nil, nil
	}
	file, err := textfile.ReadUTF8(c.NetworksFile)
	if err != nil {
		return nil, fmt.Errorf("NETWORKS_FILE: %w", err)
	}
	networks, err := provision.ParseNetworks(file, def)
	if err != nil {
		return nil, fmt.Errorf("NETWORKS_FILE: %w", textfile.In(c.NetworksFile, err))
	}
	return networks, nil
}

// settings are the engine's part of the configuration.
func (c *config) settings() (provision.Settings, error) {
	pool, err := c.pool()
	if err != nil {
		return provision.Settings{}, err
	}
	networks, err := c.networks(pool)
	if err != nil {
		return provision.Settings{}, err
	}
	s := provision.Settings{
		MainNode: c.MainNode, Pool: pool, Storage: c.Storage,
		Bridge: c.Bridge, Nameserver: c.Nameserver, ImageDir: c.ImageDir,
		Networks: networks, ImageStorage: c.ImageStorage, ImageRefresh: c.ImageRefresh,
		MaxCores: c.MaxCPU, MaxMemoryMB: c.MaxRAM, MaxDiskMB: c.MaxDisk << 10, BalloonMinMB: c.BalloonMin,
		BotVMID: c.BotVMID, OnBoot: c.OnBoot,
		InitEnv: map[string]string{}, Stall: c.Stall,
	}
	options := map[string]string{"PVEBOT_TIMEZONE": c.Timezone, "PVEBOT_LOCALE": c.Locale, "PVEBOT_PACKAGES": c.Packages}
	if c.SwapMB > 0 {
		options["PVEBOT_SWAP_MB"] = strconv.Itoa(c.SwapMB)
	}
	if c.Upgrade {
		options["PVEBOT_UPGRADE"] = "1"
	}
	for name, value := range options {
		if value != "" {
			s.InitEnv[name] = value
		}
	}
	if c.RootHash != "" {
		s.InitEnv["PVEBOT_ROOT_HASH"] = string(c.RootHash)
	}
	s.AdminKeys, err = c.adminKeys()
	return s, err
}

// adminKeys are the keys that every VM gets. The error tells each line that is
// none: Proxmox VE would refuse every VM for it.
func (c *config) adminKeys() ([]string, error) {
	if c.AdminKeys == "" {
		return nil, nil
	}
	text, err := textfile.Read(c.AdminKeys)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_KEYS_FILE: %w", err)
	}
	var keys []string
	var wrong []error
	for n, line := range textfile.Lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		if _, err := provision.ParsePublicKey(line); err != nil {
			wrong = append(wrong, fmt.Errorf("ADMIN_KEYS_FILE: %w", &textfile.Error{File: c.AdminKeys, Line: n, Say: "this line " + err.Error()}))
		}
		keys = append(keys, line)
	}
	return keys, errors.Join(wrong...)
}

// home is where the bot's SSH files are when no setting says otherwise.
func home(file string) string {
	dir, err := os.UserHomeDir()
	if err != nil {
		return file
	}
	return filepath.Join(dir, ".ssh", file)
}
