package access

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pvebot/cluster"
	"pvebot/provision"
)

// settable is a ResponseWriter whose deadline can be set.
type settable struct{ *httptest.ResponseRecorder }

func (settable) SetWriteDeadline(time.Time) error { return nil }

// A handler that waits for a node is told in time, and says which one it is; one
// that streams is left alone.
func TestTimely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(prepare func(http.ResponseWriter, *http.Request)) (status int, say string, took time.Duration) {
			began := time.Now()
			h := Timely(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				prepare(w, r)
				ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
				defer cancel()
				<-ctx.Done()
				status, say = http.StatusServiceUnavailable, ctx.Err().Error()
				if why, late := Late(ctx, ctx.Err()); late {
					status = http.StatusGatewayTimeout
					say, _ = provision.Explain(why)
				}
			}), cluster.SystemClock{})
			h.ServeHTTP(settable{httptest.NewRecorder()}, httptest.NewRequestWithContext(t.Context(), "GET", "/api/vm/101/status", nil))
			return status, say, time.Since(began)
		}
		status, say, took := waits(func(_ http.ResponseWriter, r *http.Request) { cluster.TellAsked(r.Context(), "pve2") })
		if status != http.StatusGatewayTimeout || say != "node pve2 does not answer" || took != AnswerTime {
			t.Errorf("%d %q after %s", status, say, took)
		}
		status, say, _ = waits(func(http.ResponseWriter, *http.Request) {})
		if status != http.StatusGatewayTimeout || !strings.Contains(say, "no answer in time") {
			t.Errorf("where no node is asked: %d %q", status, say)
		}
		status, _, took = waits(func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
				t.Error(err)
			}
		})
		if status != http.StatusServiceUnavailable || took != time.Hour {
			t.Errorf("a stream: %d after %s", status, took)
		}
	})
}
