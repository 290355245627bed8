package legacy_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"pvebot/bot/web/apitest"
)

// A store that takes nothing is the answer to an order, in words and with what
// helps, not a mystery.
func TestOrderTellsWhyNothingIsStored(t *testing.T) {
	s, api := newAPI(t, apitest.Options{})
	c := newClient(t, api)
	if err := os.Remove(s.Database); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"103/start": "", "101/set/cpu": `{"cpu":2}`} {
		status, text, _ := c.do("POST", "/api/vm/"+path, body)
		if status != http.StatusServiceUnavailable || !strings.Contains(text, "its store was removed or replaced while it runs") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
