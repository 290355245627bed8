// Package v1 is the bot's own HTTP API, under /api/v1: jobs, approvals,
// events, VMs, nodes, images and the audit log, for programs. openapi.yaml
// describes it, is served as openapi.yaml and openapi.json, and is held against the
// handlers by a test: every route is in it, and every answer is as it says.
//
// Whoever calls is an actor of the policy, as package access finds out.
// Errors are {"kind", "say", "try"}: a word for code, a sentence for people,
// what to do next.
package v1
