package bot

import (
	"context"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"

	"pvebot/commands"
	"pvebot/provision"
)

// Pager is an Adapter on which a long table is shown a page at a time.
type Pager interface {
	// PageRows is how many rows a page has.
	PageRows() int
}

// pageRows is how many rows of a table a platform shows at a time; 0: all.
func (d *Desk) pageRows(platform string) int {
	if p, ok := d.adapters[platform].(Pager); ok {
		return p.PageRows()
	}
	return 0
}

// turn is what the button of a page says: the question whose answer has pages,
// and the page to turn to. Whoever presses it is asking anew.
type turn struct {
	Page int
	Line string // of a request that only reads
}

// turnPrefix carries the codec's version.
const turnPrefix = "p1"

// maxTurn is how long a question may be, in bytes, for its button to fit in
// every platform's limit for ids: 100 characters, of which adapters use some.
const maxTurn = 48

var turnText = base32.StdEncoding.WithPadding(base32.NoPadding)

func (t turn) id() string {
	return fmt.Sprintf("%s.%d.%s", turnPrefix, t.Page, turnText.EncodeToString([]byte(t.Line)))
}

// turnOf reads a button's id; false for one that is not ours.
func turnOf(id string) (turn, bool) {
	parts := strings.Split(id, ".")
	if len(parts) != 3 || parts[0] != turnPrefix {
		return turn{}, false
	}
	page, err := strconv.Atoi(parts[1])
	line, bad := turnText.DecodeString(parts[2])
	t := turn{Page: page, Line: string(line)}
	return t, err == nil && bad == nil && page > 0 && t.id() == id
}

// paged is a page of a card with a long table, and its buttons. A page that is
// not there any more is the last one.
func paged(c Card, line string, page, rows int) Card {
	if c.Table == nil || rows <= 0 || len(c.Table.Rows) <= rows || len(line) > maxTurn {
		return c
	}
	pages := (len(c.Table.Rows) + rows - 1) / rows
	page = min(page, pages)
	from := (page - 1) * rows
	c.Table = &Table{Head: c.Table.Head, Rows: c.Table.Rows[from:min(from+rows, len(c.Table.Rows))]}
	where := fmt.Sprintf("page %d of %d", page, pages)
	if c.Footer != "" {
		where = c.Footer + ", " + where
	}
	c.Footer = where
	if page > 1 {
		c.Buttons = append(c.Buttons, Button{ID: turn{page - 1, line}.id(), Label: "Previous"})
	}
	if page < pages {
		c.Buttons = append(c.Buttons, Button{ID: turn{page + 1, line}.id(), Label: "Next"})
	}
	return c
}

// turnPage obeys the button of a page: the question is asked again, by who
// pressed it.
func (d *Desk) turnPage(ctx context.Context, in Inbound, t turn) Card {
	req, err := commands.Parse(t.Line)
	if err == nil {
		if v, ok := commands.VerbOf(req.Verb()); !ok || !v.Reads {
			err = provision.Errorf(provision.Invalid, "I don't know this button any more")
		}
	}
	if err != nil {
		return errorCard(&provision.Error{Kind: provision.Invalid, Say: err.Error()})
	}
	at, req, err := d.counterFor(in, req)
	if err != nil {
		return errorCard(err)
	}
	if denied := at.mayAsk(ctx, in, req); denied != nil {
		return *denied
	}
	c, err := at.read(ctx, in, req)
	if err != nil {
		return errorCard(err)
	}
	c = paged(c, t.Line, t.Page, d.pageRows(in.Platform))
	c.Instead = true
	return c
}
