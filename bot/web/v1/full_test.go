package v1_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"pvebot/bot/web/apitest"
	"pvebot/provision"
)

// A store that takes nothing is the answer to an order, in words and with what
// helps, not a mystery.
func TestOrderTellsWhyNothingIsStored(t *testing.T) {
	s := apitest.Start(t, callers())
	_, alice, _ := newCallers(t, s)
	if err := os.Remove(s.Database); err != nil {
		t.Fatal(err)
	}
	status, text, _ := alice.do("POST", "/jobs", `{"kind":"install","spec":{"os":"ubuntu","name":"web-1"}}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(string(text), string(provision.Unavailable)) ||
		!strings.Contains(string(text), "its store was removed or replaced while it runs") || !strings.Contains(string(text), "bot store restore") {
		t.Errorf("%d %s", status, text)
	}
}
