package slack

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	api "github.com/slack-go/slack"

	"pvebot/bot"
)

// kinds of refusals. Codes that are in no list are worth another try.
var (
	// goneCodes: nothing can be written there, and waiting does not help. The
	// sentence says why, and what a person can do.
	goneCodes = map[string]string{
		"message_not_found":                        "the message was deleted",
		"cant_update_message":                      "the message is not the bot's",
		"edit_window_closed":                       "the workspace lets nobody edit messages that old",
		"channel_not_found":                        "the bot can't see the channel; invite it with /invite",
		"not_in_channel":                           "the bot is not in the channel; invite it with /invite",
		"is_archived":                              "the channel is archived",
		"is_inactive":                              "the channel is archived",
		"restricted_action":                        "the channel's settings don't let the bot post",
		"restricted_action_read_only_channel":      "the channel is read-only",
		"restricted_action_thread_only_channel":    "the channel takes replies only",
		"restricted_action_thread_locked":          "the thread is locked",
		"restricted_action_non_threadable_channel": "the channel has no threads",
		"cannot_reply_to_message":                  "the message takes no replies",
		"messages_tab_disabled":                    "the app's Messages tab is off",
		"posting_to_channel_denied":                "the channel's settings don't let the bot post",
		"user_not_in_channel":                      "the person is not in the channel",
		"user_not_found":                           "the person is not there any more",
		"user_disabled":                            "the person is not there any more",
		"block_mismatch":                           "the message is of another kind",
	}
	busyCodes = map[string]bool{"ratelimited": true, "rate_limited": true, "message_limit_exceeded": true}

	// refusedCodes: Slack does not take what we made of a card.
	refusedCodes = map[string]bool{
		"invalid_blocks": true, "invalid_blocks_format": true, "msg_blocks_too_long": true, "msg_too_long": true,
		"invalid_arguments": true, "no_text": true,
	}

	// fatalCodes: only a person can help.
	fatalCodes = map[string]string{
		"invalid_auth":            "Slack does not know the token",
		"not_authed":              "Slack got no token",
		"not_allowed_token_type":  "that is the wrong kind of token",
		"account_inactive":        "the token's bot was removed",
		"token_revoked":           "the token was revoked",
		"token_expired":           "the token has expired",
		"missing_scope":           "the token lacks a scope; add it and reinstall the app",
		"no_permission":           "the token lacks a scope; add it and reinstall the app",
		"team_disabled":           "the workspace is closed",
		"team_access_not_granted": "the app is not installed in this workspace",
		"user_removed_from_team":  "the token's bot was removed",
		"org_login_required":      "the workspace is being moved to an organisation",
		"link_disabled":           "Socket Mode is off in the app's settings",
		"forbidden_team":          "the app may not be used in this workspace",
		"access_denied":           "an administrator has forbidden it",
		"insecure_request":        "Slack wants TLS; look at SLACK_API_URL",
		"accesslimited":           "the workspace takes no calls from this network address",
	}
)

// busyTime is how long to wait when Slack does not say.
const busyTime = 30 * time.Second

// code is Slack's word for what went wrong, "" when it did not get to say one.
func code(err error) string {
	if refusal, ok := errors.AsType[api.SlackErrorResponse](err); ok {
		return refusal.Err
	}
	return ""
}

// busy returns how long Slack wants to be left alone.
func busy(err error) (time.Duration, bool) {
	if limited, ok := errors.AsType[*api.RateLimitedError](err); ok {
		return limited.RetryAfter, true
	}
	if status, ok := errors.AsType[api.StatusCodeError](err); ok && status.Code == http.StatusTooManyRequests {
		return busyTime, true
	}
	return busyTime, busyCodes[code(err)]
}

// unsure reports whether a call that failed may have been carried out: no
// answer came, or one that is not Slack's.
func unsure(err error) bool {
	if err == nil || code(err) != "" {
		return false
	}
	_, isBusy := busy(err)
	return !isBusy
}

// mapped is err as the contract of bot.Adapter has it.
func mapped(what string, err error) error {
	if err == nil {
		return nil
	}
	if after, ok := busy(err); ok {
		return &bot.BusyError{After: after}
	}
	if why, ok := goneCodes[code(err)]; ok {
		return fmt.Errorf("%s: %w: %s (%s)", what, bot.ErrGone, why, code(err))
	}
	if why, ok := fatalCodes[code(err)]; ok {
		return fmt.Errorf("%s: %s: %w", what, why, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// fatal reports whether trying again is pointless, and says why.
func fatal(err error) (string, bool) {
	if status, ok := errors.AsType[api.StatusCodeError](err); ok && status.Code == http.StatusNotFound {
		return "nothing of Slack's answers there (404)", true
	}
	why, ok := fatalCodes[code(err)]
	return why, ok
}

// details is what Slack says about our mistake, for the log.
func details(err error) []string {
	if refusal, ok := errors.AsType[api.SlackErrorResponse](err); ok {
		return refusal.ResponseMetadata.Messages
	}
	return nil
}

// FatalError ends Run: a token or a setting of the app is wrong.
type FatalError struct {
	Setting string // SLACK_BOT_TOKEN, SLACK_APP_TOKEN
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
