package slackfake

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// File is a file that a message shows.
type File struct{ Name, Text string }

// upload is a file on its way: an address is given out, the file is sent
// there, and then it is shared.
type upload struct {
	name   string
	length int
	at     time.Time
	text   []byte
	sent   bool
}

// uploadTime is how long the address of an upload works.
const uploadTime = 10 * time.Minute

// maxFile is the largest file, in bytes.
const maxFile = 1 << 30

// openUpload answers files.getUploadURLExternal; f.mu is held.
func (f *Fake) openUpload(args map[string]string) (map[string]any, string) {
	length, err := strconv.Atoi(args["length"])
	switch {
	case err != nil || length <= 0 || args["filename"] == "":
		return nil, "missing_argument"
	case length > maxFile:
		return nil, "file_upload_size_restricted"
	}
	id := f.id("F")
	f.uploads[id] = &upload{name: args["filename"], length: length, at: f.clock.Now()}
	return map[string]any{"upload_url": f.base + "/upload/" + id, "file_id": id}, ""
}

// serveUpload takes the file.
func (f *Fake) serveUpload(w http.ResponseWriter, r *http.Request, id string) {
	file, _, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, err := io.ReadAll(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	broken, broke := f.faultOf("upload")
	u := f.uploads[id]
	switch {
	case broke && !broken.Lose:
		w.WriteHeader(broken.Status)
		return
	case u == nil || f.clock.Now().Sub(u.at) > uploadTime:
		http.NotFound(w, r)
		return
	}
	if u.length != len(text) {
		f.complain("a file of %d bytes was announced with %d", len(text), u.length)
	}
	u.text, u.sent = text, true
	_, _ = io.WriteString(w, "OK - "+strconv.Itoa(len(text)))
}

// completeUpload shares files in a thread; f.mu is held.
func (f *Fake) completeUpload(args map[string]string) (map[string]any, string) {
	c := f.channels[args["channel_id"]]
	switch {
	case c == nil || c.private && !c.members[Bot]:
		return nil, "channel_not_found"
	case !c.members[Bot]:
		return nil, "not_in_channel" // chat:write.public is not for files
	case c.locked:
		return nil, "posting_to_channel_denied"
	}
	var files []struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	if json.Unmarshal([]byte(args["files"]), &files) != nil || len(files) == 0 {
		return nil, "invalid_arguments"
	}
	m := &message{ts: f.ts(), by: Bot}
	v := Version{At: f.clock.Now()}
	for _, file := range files {
		u := f.uploads[file.ID]
		if u == nil || !u.sent {
			return nil, "file_not_found"
		}
		v.Files = append(v.Files, File{Name: u.name, Text: string(u.text)})
		delete(f.uploads, file.ID)
	}
	if parent := c.find(args["thread_ts"]); parent != nil && parent.thread == "" {
		m.thread = parent.ts
	}
	m.shown = []Version{v}
	c.messages = append(c.messages, m)
	return map[string]any{"files": files}, ""
}
