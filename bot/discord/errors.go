package discord

import (
	"errors"
	"fmt"
	"net/http"

	"pvebot/bot"
)

// Codes of Discord's that mean something to us.
const (
	codeUnknownChannel     = 10003
	codeUnknownMember      = 10007
	codeUnknownMessage     = 10008
	codeUnknownWebhook     = 10015
	codeUnknownInteraction = 10062
	codeOldEdit            = 30046
	codeAcknowledged       = 40060
	codeNoAccess           = 50001
	codeCantMessage        = 50007 // the person takes no messages
	codeNoPermission       = 50013
	codeWrongChannel       = 50024 // no threads there
	codeBadToken           = 50027 // of an interaction, not the bot's
	codeInvalidForm        = 50035
	codeArchived           = 50083
	codeAutoMod            = 200000
	codeHarmfulLink        = 240000
	codeThreadExists       = 160004
	codeThreadLocked       = 160005
	codeTooManyThreads     = 160006
)

var (
	// goneCodes: nothing can be written there, and waiting does not help. The
	// sentence says why, and what a person can do.
	goneCodes = map[int]string{
		codeUnknownChannel: "the channel is gone",
		codeUnknownMessage: "the message was deleted",
		codeNoAccess:       "the bot can't see the channel; let its role View Channel",
		codeNoPermission:   "the bot may not write there; let its role Send Messages, Create Public Threads and Send Messages in Threads",
		codeWrongChannel:   "that kind of channel does not take it",
		codeArchived:       "the thread is archived",
		codeThreadLocked:   "the thread is locked",
		codeTooManyThreads: "the server has too many threads",
		codeCantMessage:    "the person takes no messages from the bot",
		50005:              "the message is not the bot's",
		30033:              "the thread has too many members",
	}
	// refusedCodes: Discord does not take what we made of a card.
	refusedCodes = map[int]bool{codeInvalidForm: true, codeAutoMod: true, codeHarmfulLink: true, 50006: true}
	// pastCodes: an interaction's token is of no use any more.
	pastCodes = map[int]bool{codeUnknownInteraction: true, codeBadToken: true, codeUnknownWebhook: true, codeUnknownMessage: true}
)

// apiError is Discord's refusal of a call.
type apiError struct {
	What    string // what was called, in words
	Status  int
	Code    int
	Message string
	Details string // of a malformed body
}

func (e *apiError) Error() string {
	s := fmt.Sprintf("%s: Discord answers %d", e.What, e.Status)
	if e.Code != 0 {
		s += fmt.Sprintf(", code %d", e.Code)
	}
	if e.Message != "" {
		s += " (" + e.Message + ")"
	}
	if e.Details != "" {
		s += " " + e.Details
	}
	return s
}

// code is Discord's code of what went wrong, 0 when it did not get to say one.
func code(err error) int {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Code
	}
	return 0
}

// unsure reports whether a call that failed may have been carried out: no
// answer came, or one that is not Discord's last word.
func unsure(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Status >= 500
	}
	_, busy := errors.AsType[*bot.BusyError](err)
	return !busy
}

// mapped is err as the contract of bot.Adapter has it.
func mapped(err error) error {
	if why, ok := goneCodes[code(err)]; ok {
		return fmt.Errorf("%w: %s: %w", bot.ErrGone, why, err)
	}
	return err
}

const tokenIsBad = "Discord does not know the token; reset it under Bot, and set the new one"

// badToken: the bot's, not an interaction's.
func badToken(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Status == http.StatusUnauthorized && e.Code != codeBadToken
}

// FatalError ends Run: a token or a setting of the application is wrong.
type FatalError struct {
	Setting string // DISCORD_TOKEN, ...
	Why     string
	Err     error
}

func (e *FatalError) Error() string {
	if e.Err == nil {
		return e.Setting + ": " + e.Why
	}
	return fmt.Sprintf("%s: %s (%v)", e.Setting, e.Why, e.Err)
}

func (e *FatalError) Unwrap() error { return e.Err }
