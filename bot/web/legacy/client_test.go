package legacy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"pvebot/bot/web/apitest"
	"pvebot/bot/web/legacy"
	"pvebot/cluster/pvesim"
	"pvebot/cluster/pvesim/simtest"
)

func TestMain(m *testing.M) {
	pvesim.Main()
	os.Exit(simtest.Main{M: m}.Run())
}

func newAPI(t *testing.T, o apitest.Options) (*apitest.Site, *legacy.API) {
	t.Helper()
	if o.Sim.Statd == 0 {
		o.Sim.Statd = -1
	}
	s := apitest.Start(t, o)
	return s, legacy.New(legacy.Config{
		Engine: s.Engine, Cluster: s.Cluster, Clerk: s.Clerk, Source: s.Store, Gate: s.Gate, Settings: s.Settings,
	})
}

// client is one as its author would have written it for the old system, with
// nothing but the description of its API at hand.
type client struct {
	t    *testing.T
	base string
	http *http.Client
}

func newClient(t *testing.T, h http.Handler) *client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &client{t, server.URL, server.Client()}
}

// frame is a message of the old system's streams.
type frame struct {
	Step    string `json:"step"`
	Status  string `json:"status"`
	Message string `json:"message"`
	VMID    *int   `json:"vm_id"`
	IP      string `json:"ip"`
}

func (c *client) do(method, path, body string) (int, string, *http.Response) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp
}

// text asks for something whose answer is a word.
func (c *client) text(method, path, body, want string) {
	c.t.Helper()
	if status, got, _ := c.do(method, path, body); status != http.StatusOK || got != want {
		c.t.Fatalf("%s %s %s: %d %q, want %q", method, path, body, status, got, want)
	}
}

var elapsed = regexp.MustCompile(`^\[[*+-]\] (?s:.+) \([0-9]+\.[0-9]{2}s\)$`)

// stream posts and reads the stream to its end.
func (c *client) stream(path, body string) []frame {
	c.t.Helper()
	status, text, resp := c.do(http.MethodPost, path, body)
	if status != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		c.t.Fatalf("POST %s: %d %s", path, status, text)
	}
	frames, err := parse(text)
	if err != nil {
		c.t.Fatalf("POST %s: %v in\n%s", path, err, text)
	}
	return frames
}

// parse holds a whole stream to its description: every event is one line of
// data and an empty one, every data is JSON, and the last is event: close.
func parse(text string) ([]frame, error) {
	body, ok := strings.CutSuffix(text, "event: close\ndata: {}\n\n")
	if !ok {
		return nil, fmt.Errorf("it does not end with event: close")
	}
	var frames []frame
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			return nil, fmt.Errorf("line %q is no data", lines.Text())
		}
		var f frame
		dec := json.NewDecoder(bytes.NewReader([]byte(data)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			return nil, fmt.Errorf("%s: %w", data, err)
		}
		if !elapsed.MatchString(f.Message) || f.Step == "" {
			return nil, fmt.Errorf("message %q of step %q", f.Message, f.Step)
		}
		switch f.Status {
		case "processing", "success", "error", "info":
		default:
			return nil, fmt.Errorf("status %q", f.Status)
		}
		if !lines.Scan() || lines.Text() != "" {
			return nil, fmt.Errorf("no empty line after %s", data)
		}
		frames = append(frames, f)
	}
	return frames, lines.Err()
}

// stages are the steps of frames in the order in which they first appeared.
func stages(frames []frame) []string {
	var names []string
	seen := map[string]bool{}
	for _, f := range frames {
		if !seen[f.Step] {
			seen[f.Step] = true
			names = append(names, f.Step)
		}
	}
	return names
}

// last wants the stream to have ended well, and returns its last frame.
func (c *client) last(frames []frame) frame {
	c.t.Helper()
	for _, f := range frames {
		if f.Status == "error" {
			c.t.Fatalf("the stream has an error: %+v", f)
		}
	}
	f := frames[len(frames)-1]
	if f.Status != "success" || f.VMID == nil || f.IP == "" {
		c.t.Fatalf("the last frame is %+v, without a VM and its address", f)
	}
	return f
}

type listed struct {
	Success bool `json:"success"`
	Count   int  `json:"count"`
	List    []vm `json:"list"`
	Data    []vm `json:"data"`
	VMs     []vm `json:"vms"`
	Cluster []struct {
		Node       string  `json:"node"`
		MaxCPU     int     `json:"max_cpu"`
		MaxMemory  float64 `json:"max_memory"`
		CPU        float64 `json:"cpu"`
		Memory     float64 `json:"memory"`
		MemoryUsed float64 `json:"memory_used"`
		Disk       float64 `json:"disk"`
		Running    int     `json:"running"`
	} `json:"cluster"`
	Nodes json.RawMessage `json:"nodes"`
}

type vm struct {
	VMID       int     `json:"vmid"`
	Name       string  `json:"name"`
	OS         string  `json:"os"`
	Running    bool    `json:"running"`
	Node       string  `json:"node"`
	CPU        int     `json:"cpu"`
	Disk       float64 `json:"disk"`
	Memory     float64 `json:"memory"`
	MemoryUsed float64 `json:"memory_used"`
}

func (c *client) list(query string) listed {
	c.t.Helper()
	status, text, _ := c.do(http.MethodGet, "/api/vm/list"+query, "")
	var l listed
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil || status != http.StatusOK {
		c.t.Fatalf("list: %d %s: %v", status, text, err)
	}
	return l
}
