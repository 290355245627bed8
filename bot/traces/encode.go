package traces

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"pvebot/provision"
)

// The JSON of OTLP: ids are hex, 64-bit numbers are strings.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Status     status      `json:"status"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String string `json:"stringValue,omitempty"`
		Int    string `json:"intValue,omitempty"`
	}
)

// OTLP's numbers for the kind and the status of a span.
const (
	kindInternal = 1
	statusOK     = 1
	statusError  = 2
)

func text(key, s string) attribute { return attribute{key, value{String: s}} }

func number(key string, n int64) attribute {
	return attribute{key, value{Int: strconv.FormatInt(n, 10)}}
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// id is n bytes in hex that the same words always give.
func id(n int, words ...string) string {
	h := sha256.New()
	for _, w := range words {
		h.Write([]byte(w + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:n])
}

// encode writes the trace of a job that came to rest at a time. A job that is
// tried again comes to rest again, and that is another trace.
func (s *Sender) encode(job provision.Job, at time.Time) ([]byte, error) {
	trace := id(16, job.Order.Cluster, job.ID.String(), nanos(at))
	root := span{
		TraceID: trace, SpanID: id(8, trace, "job"), Name: job.Order.Spec.Kind(), Kind: kindInternal,
		Start: nanos(job.Created), End: nanos(at), Status: status{Code: statusOK},
		Attributes: []attribute{
			number("pvebot.job", int64(job.ID)), text("pvebot.verb", job.Order.Spec.Kind()), text("pvebot.state", string(job.State)),
			text("pvebot.cluster", job.Order.Cluster), text("pvebot.platform", job.Order.By.Platform),
		},
	}
	if f := job.Facts; f.VMID != 0 {
		root.Attributes = append(root.Attributes, number("pvebot.vmid", int64(f.VMID)), text("pvebot.node", f.Node))
	}
	if job.State != provision.StateSucceeded {
		root.Status = status{Code: statusError}
		if job.Problem != nil {
			root.Status.Message = job.Problem.Say
		}
	}
	spans := []span{root}
	if !job.Started.IsZero() && job.Started.After(job.Created) {
		spans = append(spans, span{
			TraceID: trace, SpanID: id(8, trace, "wait"), Parent: root.SpanID, Name: "waiting for approval or a worker", Kind: kindInternal,
			Start: nanos(job.Created), End: nanos(job.Started),
		})
	}
	for _, st := range job.Steps {
		if st.Started.IsZero() {
			continue
		}
		end := st.Ended
		if end.IsZero() {
			end = at
		}
		sp := span{
			TraceID: trace, SpanID: id(8, trace, "step", st.Name), Parent: root.SpanID, Name: st.Name, Kind: kindInternal,
			Start: nanos(st.Started), End: nanos(end),
			Attributes: []attribute{text("pvebot.phase", st.Phase), text("pvebot.status", string(st.Status))},
		}
		if st.Status == provision.StepBad {
			sp.Status = status{Code: statusError, Message: st.Text}
		}
		spans = append(spans, sp)
	}
	return json.Marshal(request{[]resourceSpans{{
		Resource:   resource{[]attribute{text("service.name", s.cfg.Service), text("service.version", s.cfg.Version)}},
		ScopeSpans: []scopeSpans{{Scope: scope{Name: "pvebot", Version: s.cfg.Version}, Spans: spans}},
	}}})
}
