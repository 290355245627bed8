package discord

import (
	"bytes"
	"context"
	"mime/multipart"
	"net/http"
	"net/textproto"

	"pvebot/bot"
)

// file goes with a message.
type file struct {
	name string
	text []byte
}

// with is a body of the message's JSON and the file.
func (f *file) with(message []byte) (body []byte, kind string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part := func(disposition, kind string, text []byte) {
		if err != nil {
			return
		}
		p, perr := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {kind}})
		if err = perr; err == nil {
			_, err = p.Write(text)
		}
	}
	part(`form-data; name="payload_json"`, "application/json", message)
	part(multipart.FileContentDisposition("files[0]", f.name), "text/plain; charset=utf-8", f.text)
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), w.FormDataContentType(), err
}

// File implements [bot.Filer].
func (d *Discord) File(ctx context.Context, ref bot.Ref, name string, text []byte) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	t := d.threads.get(at.Message)
	channel := at.Message
	if t.flat {
		channel = at.Channel
	}
	err = d.call(ctx, request{
		what: "attach a file", method: http.MethodPost, path: "/channels/" + channel + "/messages",
		body:   message{Content: "The whole log:", Embeds: noEmbeds, Components: noComponents, Nonce: newNonce(), Once: true},
		file:   &file{name: name, text: text},
		bucket: "/channels/" + channel + "/messages", again: true,
	}, nil)
	if err == nil && t.final {
		d.archive(ctx, at.Message) // writing has opened it again
	}
	return mapped(err)
}
