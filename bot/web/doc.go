// Package web is the bot's page: a chat in which lines are typed and cards
// live, panels of jobs, VMs and nodes beside it, and the event streams and
// plain reads that other programs use.
//
// [Web] is a bot.Adapter (platform "web") and an http.Handler. All HTML is
// made on the server by html/template and sent over server-sent events; the
// page's script only puts fragments where they belong. Messages are state, not
// a log: each change gets the next version, a reader asks for what changed
// since the version it has, so that a slow one costs nobody anything and a
// reload or a lost connection loses nothing.
//
// What keeps strangers out: it listens on loopback unless login links are
// configured, answers only to known Host names, takes no cross-origin writes,
// and its pages run nothing that is not a file of this package.
package web
