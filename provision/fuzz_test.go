package provision

import (
	"reflect"
	"testing"
)

// FuzzSpec: whatever is stored or sent as a spec, it is refused or it is a
// spec that survives another trip, and checking it ends in an answer.
func FuzzSpec(f *testing.F) {
	for kind := range specs {
		f.Add([]byte(`{"kind":"` + kind + `","spec":{"vm":{"vmid":101,"name":"web-1"},"do":"` + kind + `"}}`))
	}
	f.Add([]byte(`{"kind":"install","spec":{"os":"ubuntu","cores":2,"memory_mb":2048,"disk_mb":16384,"user":"\u0000","key":"ssh-ed25519 x","password_hash":"$6$a$b"}}`))
	f.Add([]byte(`{"kind":"destroy","spec":null}`))
	f.Add([]byte(`{"kind":"shutdown","spec":{}}`))
	f.Add([]byte(`{"kind":"start","spec":{"do":"stop"}}`))
	f.Add([]byte(`{"kind":"drain","spec":{"moves":[{"vm":{}},{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := UnmarshalSpec(data)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil && KindOf(err) != Invalid {
			t.Errorf("%s: %v", data, err)
		}
		again, err := MarshalSpec(s)
		if err != nil {
			t.Skip("no JSON could say it") // a time beyond the year 9999
		}
		if got, err := UnmarshalSpec(again); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s became %s, %v", data, again, err)
		}
	})
}
