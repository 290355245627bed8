package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pvebot/cluster"
	"pvebot/cluster/internal/sshtest"
	"pvebot/cluster/runnertest"
	"pvebot/cluster/taskstest"
)

// The suites must notice what they are there to notice: for each case there is
// an implementation that breaks just that promise.

type runFunc func(ctx context.Context, c cluster.Cmd) (cluster.Result, error)

func (f runFunc) Run(ctx context.Context, c cluster.Cmd) (cluster.Result, error) { return f(ctx, c) }

// then changes what r returns.
func then(r cluster.Runner, change func(cluster.Result, error) (cluster.Result, error)) cluster.Runner {
	return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) { return change(r.Run(ctx, c)) })
}

// first changes what r is asked.
func first(r cluster.Runner, change func(context.Context, cluster.Cmd) (context.Context, cluster.Cmd)) cluster.Runner {
	return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) { return r.Run(change(ctx, c)) })
}

// confuse replaces one kind of error by another.
func confuse(from, to error) func(cluster.Result, error) (cluster.Result, error) {
	return func(res cluster.Result, err error) (cluster.Result, error) {
		if errors.Is(err, from) {
			return res, fmt.Errorf("%w: confused", to)
		}
		return res, err
	}
}

var brokenRunners = map[string]func(cluster.Runner) cluster.Runner{
	"exit status": func(r cluster.Runner) cluster.Runner {
		return then(r, func(res cluster.Result, _ error) (cluster.Result, error) { return res, nil })
	},
	"killed": func(r cluster.Runner) cluster.Runner {
		return then(r, func(res cluster.Result, err error) (cluster.Result, error) {
			if refused := (*cluster.ExitError)(nil); errors.As(err, &refused) {
				refused.Status = 1
			}
			return res, err
		})
	},
	"streams": func(r cluster.Runner) cluster.Runner {
		return then(r, func(res cluster.Result, err error) (cluster.Result, error) {
			return cluster.Result{Stdout: append(res.Stdout, res.Stderr...)}, err
		})
	},
	"stdin": func(r cluster.Runner) cluster.Runner {
		return first(r, func(ctx context.Context, c cluster.Cmd) (context.Context, cluster.Cmd) {
			c.Stdin = c.Stdin[:min(len(c.Stdin), 1<<15)]
			return ctx, c
		})
	},
	"stdin unread": func(r cluster.Runner) cluster.Runner {
		return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
			res, err := r.Run(ctx, c)
			if len(c.Stdin) > 1<<20 {
				err = cluster.ErrLost
			}
			return res, err
		})
	},
	"quoting": func(r cluster.Runner) cluster.Runner {
		return first(r, func(ctx context.Context, c cluster.Cmd) (context.Context, cluster.Cmd) {
			for i, w := range c.Argv {
				c.Argv[i] = strings.TrimSuffix(w, "\n")
			}
			return ctx, c
		})
	},
	"impossible argv": func(r cluster.Runner) cluster.Runner {
		return first(r, func(ctx context.Context, c cluster.Cmd) (context.Context, cluster.Cmd) {
			for i, w := range c.Argv {
				c.Argv[i] = strings.ReplaceAll(w, "\x00", "")
			}
			return ctx, c
		})
	},
	"big output": func(r cluster.Runner) cluster.Runner {
		return then(r, func(res cluster.Result, err error) (cluster.Result, error) {
			res.Stdout = res.Stdout[:min(len(res.Stdout), 1<<20)]
			return res, err
		})
	},
	"lines": func(r cluster.Runner) cluster.Runner {
		return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
			line := c.Line
			if line != nil {
				c.Line = func(s string) {
					if s != "" {
						line(s)
					}
				}
			}
			return r.Run(ctx, c)
		})
	},
	"lines arrive early": func(r cluster.Runner) cluster.Runner {
		return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
			line := c.Line
			c.Line = nil
			res, err := r.Run(ctx, c)
			for s := range strings.Lines(string(res.Stdout)) {
				if line != nil {
					line(strings.TrimSuffix(s, "\n"))
				}
			}
			return res, err
		})
	},
	"context ended before": func(r cluster.Runner) cluster.Runner {
		return first(r, func(ctx context.Context, c cluster.Cmd) (context.Context, cluster.Cmd) {
			return context.WithoutCancel(ctx), c
		})
	},
	"context ends": func(r cluster.Runner) cluster.Runner { return then(r, confuse(cluster.ErrLost, context.Canceled)) },
	"concurrent": func(r cluster.Runner) cluster.Runner {
		var running atomic.Int32
		return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
			defer running.Add(-1)
			if running.Add(1) > 10 {
				return cluster.Result{}, cluster.ErrNotStarted
			}
			return r.Run(ctx, c)
		})
	},
	"fence": func(r cluster.Runner) cluster.Runner {
		return first(r, func(ctx context.Context, c cluster.Cmd) (context.Context, cluster.Cmd) {
			c.Changes = false
			return ctx, c
		})
	},
	"connection lost": func(r cluster.Runner) cluster.Runner {
		return then(r, confuse(cluster.ErrLost, cluster.ErrNotStarted))
	},
	"connection comes back": func(r cluster.Runner) cluster.Runner {
		var used atomic.Bool
		return runFunc(func(ctx context.Context, c cluster.Cmd) (cluster.Result, error) {
			if used.Swap(true) {
				return cluster.Result{}, cluster.ErrNotStarted
			}
			return r.Run(ctx, c)
		})
	},
	"connection refused": func(r cluster.Runner) cluster.Runner {
		return then(r, confuse(cluster.ErrNotStarted, cluster.ErrLost))
	},
}

func TestRunnerSuiteNotices(t *testing.T) {
	t.Parallel()
	for _, c := range runnertest.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t)
			mustNotice(t, func(ctx context.Context) error {
				return c.Check(ctx, runnertest.Target{
					Runner: brokenRunners[c.Name](dial(t, s)), Scratch: t.TempDir(), Drop: s.Drop, Refuse: s.Refuse,
				})
			})
		})
	}
}

// mustNotice fails unless check finds something to complain about.
func mustNotice(t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // for what hangs when it is broken
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			t.Logf("noticed: %v", r)
		}
	}()
	err := check(ctx)
	if err == nil {
		t.Error("the suite did not notice")
	}
	t.Logf("noticed: %v", err)
}

// brokenTasks are Tasks of which single methods can be replaced.
type brokenTasks struct {
	cluster.Tasks
	start  func(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error)
	find   func(ctx context.Context, node, key string) (cluster.Task, error)
	follow func(ctx context.Context, t cluster.Task, offset int64) iter.Seq2[cluster.Line, error]
	signal func(ctx context.Context, t cluster.Task) error
	forget func(ctx context.Context, t cluster.Task) error
}

func (b brokenTasks) Start(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error) {
	if b.start != nil {
		return b.start(ctx, node, key, c)
	}
	return b.Tasks.Start(ctx, node, key, c)
}

func (b brokenTasks) Find(ctx context.Context, node, key string) (cluster.Task, error) {
	if b.find != nil {
		return b.find(ctx, node, key)
	}
	return b.Tasks.Find(ctx, node, key)
}

func (b brokenTasks) Follow(ctx context.Context, t cluster.Task, offset int64) iter.Seq2[cluster.Line, error] {
	if b.follow != nil {
		return b.follow(ctx, t, offset)
	}
	return b.Tasks.Follow(ctx, t, offset)
}

func (b brokenTasks) Interrupt(ctx context.Context, t cluster.Task) error {
	if b.signal != nil {
		return b.signal(ctx, t)
	}
	return b.Tasks.Interrupt(ctx, t)
}

func (b brokenTasks) Forget(ctx context.Context, t cluster.Task) error {
	if b.forget != nil {
		return b.forget(ctx, t)
	}
	return b.Tasks.Forget(ctx, t)
}

// following changes what Follow yields.
func following(ts cluster.Tasks, change func(yield func(cluster.Line, error) bool, l cluster.Line, err error) bool) brokenTasks {
	return brokenTasks{Tasks: ts, follow: func(ctx context.Context, t cluster.Task, offset int64) iter.Seq2[cluster.Line, error] {
		return func(yield func(cluster.Line, error) bool) {
			for l, err := range ts.Follow(ctx, t, offset) {
				if !change(yield, l, err) {
					return
				}
			}
		}
	}}
}

// deaf yields no error at all.
func deaf(ts cluster.Tasks) brokenTasks {
	return following(ts, func(yield func(cluster.Line, error) bool, l cluster.Line, err error) bool {
		return err == nil && yield(l, nil)
	})
}

func forgetful(ts cluster.Tasks) brokenTasks {
	return brokenTasks{Tasks: ts, find: func(context.Context, string, string) (cluster.Task, error) {
		return cluster.Task{}, cluster.ErrNoTask
	}}
}

var brokenTasksOf = map[string]func(cluster.Tasks) brokenTasks{
	"output and end": func(ts cluster.Tasks) brokenTasks {
		return following(ts, func(yield func(cluster.Line, error) bool, l cluster.Line, err error) bool {
			return l.Text == "rest" || yield(l, err)
		})
	},
	"exit status":     deaf,
	"command missing": deaf,
	"argv and stdin": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, start: func(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error) {
			c.Stdin = nil
			return ts.Start(ctx, node, key, c)
		}}
	},
	"start once": func(ts cluster.Tasks) brokenTasks {
		var n atomic.Int32
		return brokenTasks{Tasks: ts, start: func(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error) {
			return ts.Start(ctx, node, fmt.Sprint(key, n.Add(1)), c)
		}}
	},
	"find": forgetful,
	"keys": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, start: func(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error) {
			return ts.Start(ctx, node, strings.TrimLeft("x"+key, "x")+"x", c)
		}}
	},
	"fence": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, start: func(ctx context.Context, node, key string, c cluster.Cmd) (cluster.Task, error) {
			c.Changes = false
			return ts.Start(ctx, node, key, c)
		}}
	},
	"offsets": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, follow: func(ctx context.Context, t cluster.Task, _ int64) iter.Seq2[cluster.Line, error] {
			return ts.Follow(ctx, t, 0)
		}}
	},
	"follow live": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, follow: func(ctx context.Context, t cluster.Task, offset int64) iter.Seq2[cluster.Line, error] {
			return func(yield func(cluster.Line, error) bool) {
				type pair struct {
					l   cluster.Line
					err error
				}
				var all []pair
				for l, err := range ts.Follow(ctx, t, offset) {
					all = append(all, pair{l, err})
				}
				for _, p := range all {
					if !yield(p.l, p.err) {
						return
					}
				}
			}
		}}
	},
	"reader stops": func(ts cluster.Tasks) brokenTasks {
		return following(ts, func(yield func(cluster.Line, error) bool, l cluster.Line, err error) bool {
			yield(l, err)
			return true
		})
	},
	"context ends":    deaf,
	"after our death": forgetful,
	"process gone":    deaf,
	"node rebooted":   deaf,
	"run cleared":     deaf,
	"directory gone":  deaf,
	"interrupt": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, signal: func(ctx context.Context, t cluster.Task) error {
			return errors.Join(ts.Interrupt(ctx, t), errors.New("broken"))
		}}
	},
	"forget": func(ts cluster.Tasks) brokenTasks {
		return brokenTasks{Tasks: ts, forget: func(context.Context, cluster.Task) error { return nil }}
	},
	"connection lost": func(ts cluster.Tasks) brokenTasks {
		return following(ts, func(yield func(cluster.Line, error) bool, l cluster.Line, err error) bool {
			return yield(l, err) && (err != nil || l.Text != "50" || yield(l, err))
		})
	},
}

func TestTasksSuiteNotices(t *testing.T) {
	t.Parallel()
	for _, c := range taskstest.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t)
			nodes, err := cluster.Connect(cluster.NodesConfig{
				Targets: []cluster.Target{{Name: "pve1", Addr: s.Addr}},
				User:    s.User, Signers: []ssh.Signer{s.Signer}, HostKeys: ssh.FixedHostKey(s.HostKey),
			})
			if err != nil {
				t.Fatal(err)
			}
			to := target(t, nodes)
			to.Drop = s.Drop
			whole := to.Tasks
			to.Tasks = func() cluster.Tasks { return brokenTasksOf[c.Name](whole()) }
			mustNotice(t, func(ctx context.Context) error { return c.Check(ctx, to) })
		})
	}
	if len(brokenTasksOf) != len(taskstest.Cases) || len(brokenRunners) != len(runnertest.Cases) {
		t.Error("a case of a suite has no implementation that breaks it, or one is left over")
	}
}
