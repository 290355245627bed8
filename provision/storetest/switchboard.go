package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"pvebot/provision"
)

// attendant reads the questions about a cluster until the test ends, and
// answers them with itself and the question.
func (e *env) attendant(name, cluster string) {
	e.Helper()
	e.must(e.s.Attend(e.ctx, cluster, name, time.Minute))
	ctx, stop := context.WithCancel(e.ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for q, err := range e.s.Questions(ctx, cluster) {
			if err == nil {
				err = e.s.Answer(ctx, q.ID, json.RawMessage(fmt.Sprintf(`[%q,%s]`, name, q.Data)))
			}
			if err != nil && ctx.Err() == nil {
				e.Errorf("%s: %v", name, err)
			}
		}
	})
	e.Cleanup(func() { stop(); reading.Wait() })
}

// asks puts a question, which must be answered, and returns by whom.
func (e *env) asks(cluster, question string) (who string) {
	e.Helper()
	answer, err := e.s.Ask(e.ctx, cluster, json.RawMessage(question))
	if err != nil {
		e.Errorf("asking %s: %v", cluster, err)
		return ""
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(answer, &parts); err != nil || len(parts) != 2 || string(parts[1]) != question {
		e.Errorf("%s is answered with %s (%v)", question, answer, err)
		return ""
	}
	return string(parts[0])
}

func testAsk(e *env) {
	_, err := e.s.Ask(e.ctx, "main", json.RawMessage(`1`))
	e.is(err, provision.ErrUnattended)
	e.attendant("a", "main")
	e.attendant("b", "other")
	_, err = e.s.Ask(e.ctx, "elsewhere", json.RawMessage(`1`))
	e.is(err, provision.ErrUnattended)
	e.same("who answers about main", e.asks("main", `{"n":1}`), `"a"`)
	e.same("who answers about other", e.asks("other", `"\u0000 \u4e16"`), `"b"`)

	e.attendant("c", "main") // a question goes to one of them
	atOnce(20, func(i int) {
		if who := e.asks("main", fmt.Sprint(i)); who != `"a"` && who != `"c"` {
			e.Errorf("question %d is answered by %s", i, who)
		}
	})
	e.must(e.s.Answer(e.ctx, "none", json.RawMessage(`1`)))
}

func testAskInVain(e *env) {
	// Nobody reads, so nobody answers.
	e.must(e.s.Attend(e.ctx, "main", "a", 30*time.Second))
	e.must(e.s.Attend(e.ctx, "main", "b", 30*time.Second))
	waiting := func(do func()) error {
		e.Helper()
		result := make(chan error, 1)
		go func() {
			_, err := e.s.Ask(e.ctx, "main", json.RawMessage(`"while somebody waits"`))
			result <- err
		}()
		for q, err := range e.s.Questions(e.ctx, "main") { // the question is there
			e.must(err)
			e.same("the question", q.Data, "while somebody waits")
			break
		}
		do()
		return <-result
	}
	e.is(waiting(func() {
		e.must(e.s.Attend(e.ctx, "main", "a", 0))
		e.must(e.s.Attend(e.ctx, "main", "b", 0))
	}), provision.ErrUnattended)

	e.must(e.s.Attend(e.ctx, "main", "a", 30*time.Second))
	e.is(waiting(func() { e.clock.Move(31 * time.Second) }), provision.ErrUnattended)

	// One that is given up is not handed out.
	e.must(e.s.Attend(e.ctx, "main", "a", 30*time.Second))
	enough := errors.New("enough")
	ctx, stop := context.WithCancelCause(e.ctx)
	stop(enough)
	_, err := e.s.Ask(ctx, "main", json.RawMessage(`"given up"`))
	if err == nil {
		e.Fatal("answered, but nobody did")
	}
	e.attendant("a", "main")
	e.same("who answers", e.asks("main", `2`), `"a"`)
}

func testAttended(e *env) {
	until, now, err := e.s.Attended(e.ctx, "main")
	e.must(err)
	if !until.IsZero() || now.IsZero() {
		e.Fatalf("never attended, but until %v, and it is %v", until, now)
	}
	e.must(e.s.Attend(e.ctx, "main", "a", time.Minute))
	e.must(e.s.Attend(e.ctx, "main", "b", time.Second)) // the last to go counts
	until, now, err = e.s.Attended(e.ctx, "main")
	e.must(err)
	if left := until.Sub(now); left <= 30*time.Second || left > time.Minute {
		e.Fatalf("attended for %v, want a minute", left)
	}
	e.clock.Move(2 * time.Minute)
	until, now, err = e.s.Attended(e.ctx, "main")
	e.must(err)
	if left := until.Sub(now); left > -30*time.Second || left < -2*time.Minute {
		e.Fatalf("attended until %v ago, want about a minute", -left)
	}
}
