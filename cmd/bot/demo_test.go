package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"testing"
)

// Who reads that the demo is running can open its page, which is on PORT.
func TestDemoListensBeforeItSaysSo(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	p := program{env: []string{"PORT=0"}, out: in, err: io.Discard}
	ended := make(chan error, 1)
	go func() {
		err := p.run(ctx, []string{"demo", "--fast"})
		_ = in.CloseWithError(err)
		ended <- err
	}()
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // the pipe must not fill up
	found := regexp.MustCompile(`running\. Open (http://127\.0\.0\.1:[1-9][0-9]*) `).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("it says %q", said)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, found[1]+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("the page answers %v, %v", res, err)
	}
	if err == nil {
		_ = res.Body.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
