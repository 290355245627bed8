package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"time"
)

// VMRecord is what the store keeps of a VM that has an owner. It holds only as
// long as the VM has the same uuid.
type VMRecord struct {
	Cluster  string       `json:"cluster"`
	VMID     int          `json:"vmid"`
	UUID     string       `json:"uuid"`
	Name     string       `json:"name"`
	Owner    Actor        `json:"owner"`
	Where    Conversation `json:"where"`         // where its reminders go
	Job      JobID        `json:"job,omitempty"` // that made it; 0: adopted
	IP       netip.Addr   `json:"ip,omitzero"`
	User     string       `json:"user,omitempty"`
	HostKey  string       `json:"host_key,omitempty"` // the guest's, as an authorized_keys line
	Cores    int          `json:"cores"`
	MemoryMB int          `json:"memory_mb"`
	DiskMB   int64        `json:"disk_mb"`
	Created  time.Time    `json:"created"`
	Until    time.Time    `json:"until,omitzero"` // end of life; zero: none
	Reminded bool         `json:"reminded,omitempty"`
	// Told is since when its owner knows that its life is over, and that it was
	// stopped; zero: not yet.
	Told time.Time `json:"told,omitzero"`
}

// AuditRow is one thing that somebody did, or was refused. Rows are chained:
// each holds the hash of the one before it, so that none can be changed or
// removed later without VerifyAudit finding out.
type AuditRow struct {
	Seq  int64     `json:"seq"` // 1, 2, 3, ...
	At   time.Time `json:"at"`
	By   Actor     `json:"by"`
	What string    `json:"what"` // ordered, refused, voted, resolved, cancelled, ran, ended
	Verb string    `json:"verb,omitempty"`
	VMID int       `json:"vmid,omitempty"`
	Job  JobID     `json:"job,omitempty"`
	// Cluster that it was about; "" when that was not said.
	Cluster string `json:"cluster,omitempty"`
	Rule    string `json:"rule,omitempty"`   // of the policy, that allowed or refused it
	Text    string `json:"text,omitempty"`   // the line, the command or the decision
	Result  string `json:"result,omitempty"` // what came of it
	Prev    string `json:"prev"`             // hash of the row before; "" for the first
	Hash    string `json:"hash"`
}

// Sum is the hash that belongs to the row: SHA-256, in hex, of its JSON form
// without the hash itself.
func (r AuditRow) Sum() string {
	r.Hash = ""
	data, err := json.Marshal(r)
	if err != nil {
		panic("an audit row has no JSON form: " + err.Error()) // strings, numbers and a time
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// AuditFilter selects audit rows; zero fields do not.
type AuditFilter struct {
	By   *Actor
	VMID int
	Job  JobID
	// Cluster leaves out rows that say they are about another one.
	Cluster string
	After   int64 // Seq
	Limit   int   // newest ones; 0: all
}
