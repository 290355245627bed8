// Package discordfake is a Discord server in memory: REST and the gateway, with
// people who type, click and fill in forms. It enforces what Discord enforces
// and answers in Discord's codes, so that an adapter which gets along with it
// has reason to hope for the real thing: lengths and counts, three seconds for
// a first answer and fifteen minutes for the others, one first answer only,
// rate buckets with their headers, edits of old messages, permissions, threads
// that have their message's id, sessions that are resumed, and a gateway that
// says reconnect when it likes.
//
// What only a wrong client sends (an unknown field, a message that could
// mention somebody) is kept in [Fake.Complaints]; tests want none. Whatever
// went over the wire is in [Fake.Journal].
//
// The fake speaks HTTP over any listener. With [Pipe] that is memory, and
// everything works inside a testing/synctest bubble.
package discordfake
