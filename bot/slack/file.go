package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	api "github.com/slack-go/slack"

	"pvebot/bot"
)

// fileCodes: Slack will not take the file, and waiting does not help.
var fileCodes = map[string]string{
	"missing_scope":                       "the app lacks files:write; add it and reinstall the app",
	"file_uploads_disabled":               "the workspace takes no files",
	"file_uploads_except_images_disabled": "the workspace takes no files but images",
	"file_type_not_allowed":               "the workspace does not take that kind of file",
	"file_upload_size_restricted":         "the workspace does not take files of that size",
	"storage_limit_reached":               "the workspace is full",
	"invalid_channel":                     "the channel is gone",
}

// File implements [bot.Filer]. Slack does not show a file below a message that
// was deleted: it is in the channel then.
func (s *Slack) File(ctx context.Context, ref bot.Ref, name string, text []byte) error {
	at, err := placeOf(ref)
	if err != nil {
		return err
	}
	up, err := s.client.GetUploadURLExternalContext(ctx, api.GetUploadURLExternalParameters{FileName: name, FileSize: len(text)})
	if err != nil {
		return notTaken(err)
	}
	if !s.trusts(up.UploadURL) {
		return errors.New("file: the address to send it to is not Slack's")
	}
	err = s.client.UploadToURL(ctx, api.UploadToURLParameters{UploadURL: up.UploadURL, Filename: name, Reader: bytes.NewReader(text)})
	if err != nil {
		return notTaken(err)
	}
	_, err = s.client.CompleteUploadExternalContext(ctx, api.CompleteUploadExternalParameters{
		Files:   []api.FileSummary{{ID: up.FileID, Title: name}},
		Channel: at.Channel, ThreadTimestamp: at.TS,
	})
	return notTaken(err)
}

func notTaken(err error) error {
	if why, ok := fileCodes[code(err)]; ok {
		return fmt.Errorf("file: %w: %s (%s)", bot.ErrGone, why, code(err))
	}
	return mapped("file", err)
}
