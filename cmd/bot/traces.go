package main

import (
	"fmt"
	"log/slog"

	"pvebot/bot/traces"
	"pvebot/cluster"
	"pvebot/provision"
)

// traceSettings send a trace of each job to an OpenTelemetry collector. The
// names are OpenTelemetry's own.
type traceSettings struct {
	Endpoint string           `env:"OTEL_EXPORTER_OTLP_ENDPOINT"` // "": no traces
	Headers  provision.Secret `env:"OTEL_EXPORTER_OTLP_HEADERS"`
	Service  string           `env:"OTEL_SERVICE_NAME"`
}

// sender is who sends the traces, nil when nobody wants any.
func (s traceSettings) sender(clock cluster.Clock, log *slog.Logger) (*traces.Sender, error) {
	if s.Endpoint == "" {
		return nil, nil
	}
	headers, err := traces.ParseHeaders(string(s.Headers))
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: %w", err)
	}
	sender, err := traces.New(traces.Config{
		Endpoint: s.Endpoint, Headers: headers, Service: s.Service, Version: versionName(), Clock: clock, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	return sender, nil
}

// check lists what is wrong.
func (s traceSettings) check() []string {
	if _, err := s.sender(nil, nil); err != nil {
		return []string{err.Error()}
	}
	return nil
}
