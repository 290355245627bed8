// Package slackfake is a Slack workspace in memory: a server for the Web API,
// Socket Mode and response URLs, with people who type, click and fill in
// forms. It enforces what Slack enforces and answers in Slack's words, so that
// an adapter which gets along with it has reason to hope for the real thing:
// lengths and counts of blocks, rate tiers with Retry-After, three seconds for
// an ack, triggers that work once, message ids that are unique, threads whose
// parent was deleted, edits that replace.
//
// What only a wrong client sends (an unknown method, argument or field) is kept
// in [Fake.Complaints]; tests want none. Whatever went over the wire is in
// [Fake.Journal].
//
// The fake speaks HTTP over any listener. With [Pipe] that is memory, and
// everything works inside a testing/synctest bubble.
package slackfake
