// Package traces sends each job that has come to rest to an OpenTelemetry
// collector, as one trace: a span for the job and one for each of its steps,
// with the times that its events have. It follows the feed of events and posts
// OTLP as JSON over HTTP (OpenTelemetry Protocol 1.x), which every collector
// takes at /v1/traces.
//
// The ids of a trace come from the job itself: several bots on one store send
// the same trace, and whoever collects them keeps one.
package traces

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// Config says where traces go. Endpoint is required.
type Config struct {
	Endpoint string            // the collector's base address, e.g. http://127.0.0.1:4318
	Headers  map[string]string // of each request, for collectors that want a token
	Service  string            // service.name; default pvebot
	Version  string            // service.version
	Client   *http.Client      // default: one that gives up after 10 s
	Clock    cluster.Clock     // default: the machine's
	Log      *slog.Logger      // default: none
}

// Store is what traces need of a provision.Store.
type Store interface {
	Job(ctx context.Context, id provision.JobID) (provision.Job, error)
	Follow(ctx context.Context, after provision.Position) iter.Seq2[provision.Event, error]
	Position(ctx context.Context) (provision.Position, error)
}

// Sender sends traces. Run it once.
type Sender struct {
	cfg Config
	url string
}

// New makes a Sender; its error says what is wrong with the endpoint.
func New(cfg Config) (*Sender, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address of a collector: write http://host:4318", cfg.Endpoint)
	}
	cfg.Service = cmp.Or(cfg.Service, "pvebot")
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if cfg.Clock == nil {
		cfg.Clock = cluster.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{cfg: cfg, url: u.JoinPath("v1", "traces").String()}, nil
}

// ParseHeaders reads the form of OTEL_EXPORTER_OTLP_HEADERS: name=value pairs
// with commas between them, values percent-encoded.
func ParseHeaders(list string) (map[string]string, error) {
	headers := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		text, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("a header of the list can't be read: write name=value, with commas between them")
		}
		headers[strings.TrimSpace(name)] = text
	}
	return headers, nil
}

// The patience with a collector: a trace is tried this often, each time after
// twice the pause before, and then left out.
const (
	tries      = 5
	firstPause = time.Second
	retryFeed  = 2 * time.Second
)

// Run sends the traces of jobs that come to rest from now on, until ctx ends.
// A collector that is away costs its traces, nothing else.
func (s *Sender) Run(ctx context.Context, store Store) error {
	var after provision.Position
	fresh := true
	for ctx.Err() == nil {
		var err error
		if fresh {
			after, err = store.Position(ctx)
			fresh = err != nil
		}
		if err == nil {
			for ev, ferr := range store.Follow(ctx, after) {
				if err = ferr; err != nil {
					fresh = true // what was missed is missed
					break
				}
				after = ev.Pos
				if ev.Kind == provision.JobState && ev.State.Final() {
					s.send(ctx, store, ev)
				}
			}
		}
		if ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "traces lost the feed of events; following again", "err", err)
			_ = s.cfg.Clock.Sleep(ctx, retryFeed)
		}
	}
	return nil
}

// send sends the trace of the job that ev brought to rest.
func (s *Sender) send(ctx context.Context, store Store, ev provision.Event) {
	job, err := store.Job(ctx, ev.Job)
	if err != nil || job.Order.Spec == nil {
		s.cfg.Log.WarnContext(ctx, "no trace: the job can't be read", "job", ev.Job, "err", err)
		return
	}
	if !job.State.Final() {
		return // somebody tries it again already
	}
	body, err := s.encode(job, ev.At)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "no trace", "job", ev.Job, "err", err)
		return
	}
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		again, err := s.post(ctx, body)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !again || try == tries {
			s.cfg.Log.WarnContext(ctx, "a trace was left out", "job", ev.Job, "err", err)
			return
		}
		if s.cfg.Clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// post sends one request. again says that it may go better later.
func (s *Sender) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, value := range s.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // lets the connection be used again
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true // OTLP/HTTP: these and no others
	}
	return again, fmt.Errorf("the collector says %s", resp.Status)
}
