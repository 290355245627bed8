// Package access says who may come in by HTTP, for the programs that call the
// bot: addresses, bearer tokens, origins, hosts. What somebody may do once they
// are in is the policy's business ([commands.Policy]): a [Gate] gives every
// request an actor, and Enroll gives those actors their roles.
//
// The rules, in the order in which they are tried:
//
//   - ALLOW_IPS, where it is set, keeps everybody else out. It is compared with
//     the address of the peer; X-Forwarded-For counts only when the peer is one
//     of TRUSTED_PROXIES.
//   - A browser's page of another site gets in only from ALLOW_ORIGINS.
//   - Authorization: Bearer with one of API_TOKENS is the actor http/NAME.
//   - Without a token, an address that ALLOW_IPS lists is http/legacy when
//     API_LEGACY_ROLE is set. 0.0.0.0 lists nobody in this sense.
//   - Where there are no tokens at all, this machine is http/local.
//   - Everybody else is nobody: they may look, where ALLOW_IPS lets them, or
//     from this machine.
//
// That a request comes from this machine proves nothing as soon as others come
// the same way: with a login secret, with TRUSTED_PROXIES, or where the bot
// listens elsewhere, too. Nor does an address prove anything when a proxy that
// is none of TRUSTED_PROXIES has left its headers: then a token is needed.
//
// A Gate is data once it is made: it may be used by many goroutines at once.
package access
