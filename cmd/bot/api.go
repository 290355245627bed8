package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"pvebot/bot"
	"pvebot/bot/web"
	"pvebot/bot/web/access"
	"pvebot/bot/web/legacy"
	"pvebot/bot/web/orders"
	v1 "pvebot/bot/web/v1"
	"pvebot/cluster/textfile"
	"pvebot/provision"
)

// webSettings are who may come in by HTTP. docs/http.md tells them.
type webSettings struct {
	AllowIPs       string           `env:"ALLOW_IPS"`
	TrustedProxies string           `env:"TRUSTED_PROXIES"`
	AllowOrigins   string           `env:"ALLOW_ORIGINS"`
	AllowHosts     []string         `env:"ALLOW_HOSTS"`
	Tokens         provision.Secret `env:"API_TOKENS"`
	LegacyRole     string           `env:"API_LEGACY_ROLE"`
	LoginSecret    provision.Secret `env:"LOGIN_SECRET"`
	TLSCert        string           `env:"TLS_CERT"`
	TLSKey         string           `env:"TLS_KEY"`
}

// access is what the API goes by. The error lists all that is wrong.
func (s webSettings) access() (access.Config, error) {
	ips, err1 := access.ParseAddrs("ALLOW_IPS", s.AllowIPs)
	proxies, err2 := access.ParseAddrs("TRUSTED_PROXIES", s.TrustedProxies)
	origins, err3 := access.ParseOrigins(s.AllowOrigins)
	tokens, err4 := access.ParseTokens(string(s.Tokens))
	return access.Config{
		AllowIPs: ips, TrustedProxies: proxies, AllowOrigins: origins, AllowHosts: s.AllowHosts,
		Tokens: tokens, LegacyRole: s.LegacyRole,
	}, errors.Join(err1, err2, err3, err4)
}

// tls is the page's certificate, nil without one.
func (s webSettings) tls() (*tls.Config, error) {
	if s.TLSCert == "" && s.TLSKey == "" {
		return nil, nil
	}
	cert, err := textfile.Read(s.TLSCert)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT: %w", err)
	}
	key, err := textfile.Read(s.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("TLS_KEY: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT, TLS_KEY: %s, %s: %w", s.TLSCert, s.TLSKey, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// client asks the bot on this machine, and knows it by its certificate,
// whatever name that is for.
func (s webSettings) client() (*http.Client, error) {
	own, err := s.tls()
	if err != nil || own == nil {
		return http.DefaultClient, err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // the certificate itself is compared
		VerifyPeerCertificate: func(sent [][]byte, _ [][]*x509.Certificate) error {
			if len(sent) == 0 || !bytes.Equal(sent[0], own.Certificates[0].Certificate[0]) {
				return errors.New("somebody else answers, with another certificate than TLS_CERT")
			}
			return nil
		},
	}}}, nil
}

// check lists what is missing or wrong, for a bot that listens at an address.
func (s webSettings) check(listen string) []string {
	var wrong []string
	who, err := s.access()
	if err != nil {
		wrong = strings.Split(err.Error(), "\n")
	}
	if s.LegacyRole != "" && who.AllowIPs.Everybody() {
		wrong = append(wrong, "API_LEGACY_ROLE is for the addresses of ALLOW_IPS, and that has all of them: list those that may change something, or give programs API_TOKENS")
	}
	if _, err := s.tls(); err != nil {
		wrong = append(wrong, err.Error())
	}
	switch n := len(s.LoginSecret); {
	case n == 0 && !loopback(listen):
		wrong = append(wrong, "LOGIN_SECRET is not set, and LISTEN is "+listen+": whoever reaches the page could do everything; write the output of `openssl rand -hex 32` there, and let people in with `bot login`")
	case n > 0 && n < web.MinSecret:
		wrong = append(wrong, fmt.Sprintf("LOGIN_SECRET has %d characters, %d is the least: `openssl rand -hex 32` makes one", n, web.MinSecret))
	}
	return wrong
}

// loopback: who listens at host is reached by this machine alone.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// clerk takes what comes by HTTP.
func (h *house) clerk() *bot.Clerk {
	return &bot.Clerk{Engine: h.engine, Sites: h.sites, Store: h.store, Policy: h.policy, Clock: h.clock, Log: h.log}
}

// maySee asks the policy for the page.
func (h *house) maySee(by provision.Actor, verb, cluster string) error {
	return h.clerk().MaySee(bot.Asker{By: by, Cluster: cluster}, verb, nil)
}

// api is everything under /api/ and /sh/: about the first cluster, and below
// v1.ClustersPath about each of several. The policy of the house has roles for its
// callers from here on.
func (h *house) api(cfg access.Config, gate *access.Gate) (_ http.Handler, err error) {
	if h.policy, err = access.Enroll(h.policy, cfg); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h.apiOf(h.sites[0], "", gate))
	if len(h.sites) > 1 {
		for _, site := range h.sites {
			path := v1.ClustersPath + site.Name
			mux.Handle(path+"/", http.StripPrefix(path, h.apiOf(site, site.Name, gate)))
		}
	}
	return mux, nil
}

// apiOf is the API about a site; narrow is its name where it is about nothing
// else.
func (h *house) apiOf(site bot.Site, narrow string, gate *access.Gate) http.Handler {
	clerk := orders.New(orders.Config{
		Clerk:   h.clerk(),
		Cluster: narrow, Where: provision.Conversation{Platform: web.Platform, Channel: web.Channel}, Log: h.log,
	})
	engine := site.Engine.(face) // build made it of one
	old := legacy.Config{Engine: engine, Cluster: powerOf{engine}, Clerk: clerk, Source: h.store, Gate: gate, Clock: h.clock, Log: h.log}
	if w := h.worksFor(site.Name); w != nil {
		old.Cluster, old.Settings = w.cluster, w.settings
	}
	mux := http.NewServeMux()
	mux.Handle(v1.Prefix+"/", v1.New(v1.Config{
		Engine: engine, Clusters: h.sites.Names(), Cluster: narrow, Store: h.store, Clerk: clerk, Gate: gate, Clock: h.clock, Log: h.log,
	}))
	mux.Handle("/", legacy.New(old))
	return mux
}

// powerOf tells the power state of a VM in a cluster that another bot works
// for; it may be some seconds old.
type powerOf struct{ engine face }

// Status implements legacy.Cluster.
func (p powerOf) Status(ctx context.Context, _ string, vmid int) (string, error) {
	vm, err := p.engine.FindVM(ctx, strconv.Itoa(vmid))
	return vm.Status, err
}
