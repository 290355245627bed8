package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// Reason says in a few words why a node does not answer, like "connection
// refused at 192.0.2.1:22"; "" when err does not tell. Of several nodes it is the
// first that says something.
func Reason(err error) string {
	if wrong, ok := errors.AsType[*HostKeyError](err); ok {
		if wrong.Changed {
			return fmt.Sprintf("%s at %s shows another host key than the pinned one", wrong.Name, wrong.Addr)
		}
		return fmt.Sprintf("the host key of %s at %s is not pinned", wrong.Name, wrong.Addr)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "there is no host " + dns.Name
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		if no, ok := errors.AsType[syscall.Errno](op); ok {
			return fmt.Sprintf("%s at %s", no, op.Addr)
		}
		if op.Timeout() {
			return fmt.Sprintf("no answer at %s", op.Addr)
		}
	}
	switch {
	case err == nil:
		return ""
	case strings.Contains(err.Error(), "unable to authenticate"):
		return "permission denied: the bot's SSH key is not let in"
	case IsRefusedByGate(err):
		return "its gate refuses what the bot asks"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return ""
}

// tell logs what became of a try to connect, once for each reason: many callers
// try again and again. s.mu is held.
func (s *SSH) tell(err error) {
	if err == nil {
		if s.failing != "" {
			s.cfg.Log.Info("the node answers again", "node", s.cfg.Name, "addr", s.cfg.Addr)
		}
		s.failing = ""
		return
	}
	why := cmp.Or(Reason(err), err.Error())
	if why != s.failing {
		s.cfg.Log.Warn("the node can't be reached", "node", s.cfg.Name, "addr", s.cfg.Addr, "why", why, "err", err, "try", "bot doctor")
	}
	s.failing = why
}

// whyFailing is why the newest try to connect failed; "" when it did not.
func (s *SSH) whyFailing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}
