// Package legacy is the REST API of the system that pvebot follows, as its
// clients know it: thirteen endpoints under /api and the init scripts under
// /sh/. Paths, bodies, answers and the stages of its event streams are theirs;
// what is behind them is the engine that chat uses. docs/http.md describes it.
//
// What is refused is refused before anything is touched, with a status and
// {"success":false,"error":"...","kind":"...","try":"..."}. Once a job is
// ordered it goes on whether or not the client stays.
package legacy
