package discordfake

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

// File is a file that a message shows.
type File struct{ Name, Text string }

// Discord takes files of 10 MiB, and some JSON around them.
const (
	maxFile = 10 << 20
	maxBody = maxFile + 1<<20
)

// attached parts a body with files into its JSON and the files.
func attached(kind string, body []byte) ([]byte, []File, error) {
	media, params, err := mime.ParseMediaType(kind)
	if err != nil || media != "multipart/form-data" {
		return body, nil, nil
	}
	var payload []byte
	var files []File
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return payload, files, nil
		}
		if err != nil {
			return nil, nil, err
		}
		text, err := io.ReadAll(part)
		switch {
		case err != nil:
			return nil, nil, err
		case part.FormName() == "payload_json":
			payload = text
		case strings.HasPrefix(part.FormName(), "files[") && part.FileName() != "":
			if len(text) > maxFile {
				return nil, nil, errors.New("request entity too large")
			}
			files = append(files, File{part.FileName(), string(text)})
		default:
			return nil, nil, errors.New("a part of the body has no use: " + part.FormName())
		}
	}
}
