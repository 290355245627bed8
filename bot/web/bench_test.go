package web

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pvebot/bot"
	"pvebot/bot/web/feed"
	"pvebot/cluster"
	"pvebot/provision"
)

// BenchmarkEdit changes a card that people look at.
func BenchmarkEdit(b *testing.B) {
	r := newRoom(cluster.SystemClock{})
	cards := []bot.Card{acts[0].card(), acts[1].card()}
	id := r.post(cards[0], "")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.edit(id, cards[i%2])
	}
}

// BenchmarkNews is what each reader of the page asks for after a change, while
// many messages are there.
func BenchmarkNews(b *testing.B) {
	for _, n := range []int{1, 100, keepMessages} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			r := newRoom(cluster.SystemClock{})
			for range n {
				r.post(acts[1].card(), "")
			}
			last := r.since(0, sight{jobs: true}).version - 1
			b.ReportAllocs()
			for b.Loop() {
				if got := r.since(last, sight{key: "web/local", jobs: true}); len(got.updates) != 1 {
					b.Fatal(len(got.updates))
				}
			}
		})
	}
}

// BenchmarkSend writes an event to one watcher.
func BenchmarkSend(b *testing.B) {
	s, err := openStream(discard{httptest.NewRecorder()})
	if err != nil {
		b.Fatal(err)
	}
	ev := provision.Event{Job: 1, Seq: 7, Kind: provision.StepLog, Text: "transferred 1.4 GiB of 3.5 GiB (40.00%)"}
	data := []byte(fmt.Sprintf(`{"job":%d,"seq":%d,"text":%q}`, ev.Job, ev.Seq, ev.Text))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send("7", string(ev.Kind), data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBurst writes what a job's quiet steps tell at once to one watcher
// with a socket.
func BenchmarkBurst(b *testing.B) {
	const burst = 8
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s, err := openStream(w)
		if err != nil {
			b.Error(err)
			return
		}
		text := feed.Frame("7", "step.done", []byte(`{"job":1,"seq":7,"text":"VM 105, 192.168.0.105"}`))
		for range next {
			for i := range burst {
				if err := s.Put(text, i < burst-1); err != nil {
					b.Error(err)
				}
			}
		}
	}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	b.ReportAllocs()
	for b.Loop() {
		next <- struct{}{}
		for n := 0; n < burst && lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "data: ") {
				n++
			}
		}
	}
	close(next)
}

// discard is a recorder that keeps nothing.
type discard struct{ *httptest.ResponseRecorder }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
