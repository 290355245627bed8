package slackfake

import "time"

// What Slack allows. Lengths are in characters, not bytes.
const (
	maxBlocks       = 50     // of a message
	maxViewBlocks   = 100    // of a modal
	maxText         = 3000   // of a text object
	maxHeader       = 150    // of a header block
	maxFields       = 10     // of a section
	maxFieldText    = 2000   // of each of them
	maxContext      = 10     // elements of a context block
	maxActions      = 25     // elements of an actions block
	maxID           = 255    // of block_id, action_id and callback_id
	maxButtonText   = 75     //
	maxButtonValue  = 2000   //
	maxURL          = 3000   //
	maxConfirmTitle = 100    //
	maxConfirmText  = 300    //
	maxConfirmWord  = 30     // on a button of a confirmation
	maxOptions      = 100    // of a select
	maxOptionText   = 75     //
	maxOptionValue  = 150    //
	maxPlaceholder  = 150    //
	maxInputLength  = 3000   // what a plain text input takes
	maxLabel        = 2000   // of an input, and of its hint
	maxViewTitle    = 24     // also of its buttons
	maxPrivate      = 3000   // private_metadata
	maxViewBytes    = 250000 //
	maxAllText      = 13200  // in all blocks together; observed, not documented
	maxPostText     = 40000  // longer texts are cut
	maxUpdateText   = 4000   // longer ones are refused
	maxMetadata     = 8000   // bytes of JSON
	maxAckBytes     = 20480  // bigger acks vanish
	maxSockets      = 10     // of an app
	maxHookUses     = 5      // of a response URL
)

// How long things hold.
const (
	ackTime     = 3 * time.Second  // from delivery to ack
	triggerTime = 3 * time.Second  // trigger_id
	hookTime    = 30 * time.Minute // response URL
	warnTime    = 10 * time.Second // from a warning to the cut of a socket
	socketURL   = 30 * time.Second // until a socket's address is void
	rateWindow  = time.Minute
)

// perMinute are the rate tiers: calls of one method in a minute. Posting is
// special: about one message a second and channel, short bursts allowed.
var perMinute = map[tier]int{tier1: 1, tier2: 20, tier3: 50, tier4: 100, tierPost: 600, tierAuth: 600}

type tier int

const (
	tier1 tier = iota + 1
	tier2
	tier3
	tier4
	tierPost
	tierAuth // auth.test: hundreds a minute
)

// postBurst is how many messages a channel takes at once.
const postBurst = 20
