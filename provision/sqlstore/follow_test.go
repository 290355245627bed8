package sqlstore

import (
	"testing"

	"pvebot/provision"
)

// Who looked before the hub was closed, and asks what to wait for afterwards,
// does not wait.
func TestHubThatIsClosedMeanwhile(t *testing.T) {
	h := newHub(0)
	h.close()
	h.add([]provision.Event{{Pos: 1}}) // the tail ends after it
	h.close()
	_, _, more := h.after(1)
	select {
	case <-more:
	default:
		t.Error("a follower waits for ever")
	}
}
