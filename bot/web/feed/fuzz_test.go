package feed

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzSend: whatever is sent, a reader gets exactly one event, with the data in
// it but for the kind of its line ends.
func FuzzSend(f *testing.F) {
	f.Add("1", "message", "plain")
	f.Add("1\nevent: close", "mess\rage", "a\r\n\r\nevent: close\rdata: {}\n\n")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, id, event, data string) {
		rec := httptest.NewRecorder()
		s, err := Open(rec, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(id, event, []byte(data)); err != nil {
			t.Fatal(err)
		}
		body := rec.Body.String()
		if strings.Contains(body, "\r") || strings.Count(body, "\n\n") != 1 || !strings.HasSuffix(body, "\n\n") {
			t.Fatalf("not one event: %q", body)
		}
		var got []string
		for line := range strings.Lines(body) {
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				got = append(got, strings.TrimSuffix(text, "\n"))
			}
		}
		if want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data); strings.Join(got, "\n") != want {
			t.Errorf("data %q came as %q", data, got)
		}
	})
}
