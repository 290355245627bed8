package slackfake

import "maps"

// The rules of Block Kit, as far as a chat-ops bot has use for them.
var (
	anID = id(1, maxID)
	kind = func(s string) rule { return oneOf(s) }

	confirmation = object(map[string]rule{
		"title!": text(plain, maxConfirmTitle), "text!": text(anyText, maxConfirmText),
		"confirm!": text(plain, maxConfirmWord), "deny!": text(plain, maxConfirmWord),
		"style": oneOf("primary", "danger"),
	})
	button = object(map[string]rule{
		"type!": kind("button"), "text!": text(plain, maxButtonText), "action_id": anID,
		"value": id(1, maxButtonValue), "url": id(1, maxURL), "style": oneOf("primary", "danger"),
		"confirm": confirmation, "accessibility_label": words(1, maxButtonText),
	})
	option = object(map[string]rule{
		"text!": text(plain, maxOptionText), "value!": id(1, maxOptionValue), "description": text(plain, maxOptionText),
	})
	staticSelect = object(map[string]rule{
		"type!": kind("static_select"), "action_id": anID, "placeholder": text(plain, maxPlaceholder),
		"options!": list(1, maxOptions, option), "initial_option": option, "focus_on_load": boolean,
	})
	externalSelect = object(map[string]rule{
		"type!": kind("external_select"), "action_id": anID, "placeholder": text(plain, maxPlaceholder),
		"min_query_length": number(0, 100), "initial_option": option, "focus_on_load": boolean,
	})
	textInput = object(map[string]rule{
		"type!": kind("plain_text_input"), "action_id": anID, "placeholder": text(plain, maxPlaceholder),
		"initial_value": id(1, maxInputLength), "multiline": boolean, "focus_on_load": boolean,
		"min_length": number(0, maxInputLength), "max_length": number(1, maxInputLength),
	})
	element = byType(map[string]rule{"button": button, "static_select": staticSelect, "external_select": externalSelect})
)

// messageBlocks are the blocks that a message may have.
var messageBlocks = map[string]rule{
	"header":  object(map[string]rule{"type!": kind("header"), "block_id": blockID, "text!": text(plain, maxHeader)}),
	"divider": object(map[string]rule{"type!": kind("divider"), "block_id": blockID}),
	"section": object(map[string]rule{
		"type!": kind("section"), "block_id": blockID, "text": text(anyText, maxText),
		"fields": list(1, maxFields, text(anyText, maxFieldText)), "accessory": element, "expand": boolean,
	}),
	"context": object(map[string]rule{
		"type!": kind("context"), "block_id": blockID, "elements!": list(1, maxContext, text(anyText, maxText)),
	}),
	"actions": ownActions(object(map[string]rule{
		"type!": kind("actions"), "block_id": blockID, "elements!": list(1, maxActions, element),
	})),
	"rich_text": object(map[string]rule{
		"type!": kind("rich_text"), "block_id": blockID, "elements!": list(1, 1000, richElement),
	}),
}

// viewBlocks are the blocks that a modal may have.
var viewBlocks = func() map[string]rule {
	all := maps.Clone(messageBlocks)
	input := object(map[string]rule{
		"type!": kind("input"), "block_id": blockID, "label!": text(plain, maxLabel), "hint": text(plain, maxLabel),
		"optional": boolean, "dispatch_action": boolean,
		"element!": byType(map[string]rule{
			"plain_text_input": textInput, "static_select": staticSelect, "external_select": externalSelect,
		}),
	})
	all["input"] = func(c *checker, at string, v any) {
		input(c, at, v)
		m, _ := v.(map[string]any)
		s, _ := m["block_id"].(string)
		c.inputs = append(c.inputs, s)
	}
	return all
}()

var richElement = byType(map[string]rule{
	"rich_text_section": object(map[string]rule{
		"type!": kind("rich_text_section"), "elements!": list(1, 1000, richLeaf),
	}),
	"rich_text_preformatted": object(map[string]rule{
		"type!": kind("rich_text_preformatted"), "elements!": list(1, 1000, richLeaf),
		"border": number(0, 1), "language": id(0, 50),
	}),
	"rich_text_quote": object(map[string]rule{
		"type!": kind("rich_text_quote"), "elements!": list(1, 1000, richLeaf), "border": number(0, 1),
	}),
	"rich_text_list": object(map[string]rule{
		"type!": kind("rich_text_list"), "style!": oneOf("bullet", "ordered"), "indent": number(0, 8),
		"border": number(0, 1), "offset": number(0, 1e6),
		"elements!": list(1, 1000, byType(map[string]rule{
			"rich_text_section": object(map[string]rule{"type!": kind("rich_text_section"), "elements!": list(1, 1000, richLeaf)}),
		})),
	}),
})

var richLeaf = func() rule {
	style := object(map[string]rule{"bold": boolean, "italic": boolean, "strike": boolean, "code": boolean})
	leaf := func(name string, fields map[string]rule) rule {
		fields["type!"], fields["style"] = kind(name), style
		return object(fields)
	}
	return byType(map[string]rule{
		"text":      leaf("text", map[string]rule{"text!": words(1, maxText)}),
		"emoji":     leaf("emoji", map[string]rule{"name!": id(1, 100), "unicode": id(1, 50), "skin_tone": number(1, 6)}),
		"link":      leaf("link", map[string]rule{"url!": id(1, maxURL), "text": words(1, maxText)}),
		"user":      leaf("user", map[string]rule{"user_id!": anID}),
		"usergroup": leaf("usergroup", map[string]rule{"usergroup_id!": anID}),
		"channel":   leaf("channel", map[string]rule{"channel_id!": anID}),
		"broadcast": leaf("broadcast", map[string]rule{"range!": oneOf("here", "channel", "everyone")}),
		"date":      leaf("date", map[string]rule{"timestamp!": number(0, 1e12), "format!": id(1, 200), "fallback": words(1, maxText)}),
	})
}()

// view is what views.open and acks may carry.
var view = object(map[string]rule{
	"type!": oneOf("modal"), "title!": text(plain, maxViewTitle), "submit": text(plain, maxViewTitle),
	"close": text(plain, maxViewTitle), "blocks!": list(1, maxViewBlocks, byType(viewBlocks)),
	"private_metadata": id(0, maxPrivate), "callback_id": id(0, maxID), "external_id": id(0, maxID),
	"clear_on_close": boolean, "notify_on_close": boolean,
})
