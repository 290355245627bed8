package bot

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pvebot/provision"
	"pvebot/provision/pinned"
)

// TestNamesThatAreKept: what the inbox holds, what buttons of old messages say,
// and the roles that bots share.
func TestNamesThatAreKept(t *testing.T) {
	names := slices.Concat(
		pinned.Keys(t, "inbox", left{}, time.Unix(1, 0).UTC(), json.RawMessage(`"raw"`)),
		pinned.Constants(t, "InboundKind", "action"),
		[]string{
			"role " + seatRole("SEAT"), "role " + seatRole(""), "actor " + planWatch.Key(),
		},
	)
	job := provision.Job{ID: 36, Seq: 72, Order: provision.Order{Gate: &provision.Gate{Digest: "0123456789abcdef"}}}
	for _, do := range []action{actCancel, actRetry, actRollBack, actKeep, actApprove, actReject, actExtend} {
		id := button(job, do, "", "", "").ID
		if p, ok := pressOf(id); !ok || p.Do != do || p.Job != job.ID {
			t.Errorf("%s is read as %+v", id, p)
		}
		names = append(names, "button "+id)
	}
	pinned.Check(t, "testdata/pinned.txt", names)
}
