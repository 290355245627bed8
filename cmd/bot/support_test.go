package main

import (
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"pvebot/cluster"
)

// named is a cluster that only has a name: enough to order something for it.
func named(name string) *cluster.Cluster { return cluster.New(nil, nil, cluster.Config{Name: name}) }

// body is the whole of what a server answered.
func body(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// notify calls stop when the process is asked to end.
func notify(stop func()) (cancel func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, ok := <-asked; ok {
			stop()
		}
	}()
	return func() { signal.Stop(asked); close(asked); <-done }
}
