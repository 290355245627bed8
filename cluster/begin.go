package cluster

import "bytes"

// beginMark is what a node prints before a command does. Root's shell may have
// printed something before it: many a .bashrc greets whoever comes.
const beginMark = "pvebot-begins"

// BeginLine stands before a command line that begins with a mark, and BeginOutput
// is the mark. The gate knows it too.
const (
	BeginLine   = "echo " + beginMark + "; exec "
	BeginOutput = beginMark + "\n"
)

// beginning holds back what a stream has before the mark.
type beginning struct {
	on   bool   // the mark has not come yet
	held []byte // up to maxLine bytes
}

// pass returns what may go on of p, which came next.
func (b *beginning) pass(p []byte) []byte {
	if !b.on {
		return p
	}
	b.held = append(b.held, p...)
	i := markIn(b.held)
	switch {
	case i >= 0:
		p = b.held[i:]
	case len(b.held) > maxLine:
		p = b.held // no mark will come
	default:
		return nil
	}
	*b = beginning{}
	return p
}

// rest is what was held back when the stream ended without a mark: the command
// did not begin, and this may say why.
func (b *beginning) rest() []byte {
	held := b.held
	*b = beginning{}
	return held
}

// markIn is where the first line after the mark begins, -1 where there is none.
func markIn(text []byte) int {
	i := bytes.Index(text, []byte(BeginOutput))
	if i < 0 {
		return -1
	}
	return i + len(BeginOutput)
}
