package image_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"path"
	"testing"

	"pvebot/cluster/pvesim"
	"pvebot/provision/image"
)

// The simulated internet has all that the catalogue names, and the checksum
// files are read in every form that distributors write them in.
func TestSimulatedImages(t *testing.T) {
	web := pvesim.DefaultWeb()
	for _, i := range image.Default().All() {
		body, sums := web[i.URL], web[i.Sums]
		if body == nil || sums == nil {
			t.Errorf("%s: image there %v, checksum file there %v", i.Title, body != nil, sums != nil)
			continue
		}
		want := fmt.Sprintf("%x", sha256.Sum256(body))
		if i.Algorithm == "sha512" {
			want = fmt.Sprintf("%x", sha512.Sum512(body))
		}
		if got, err := image.Checksum(sums, path.Base(i.URL), i.Algorithm); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", i.Title, got, err, want)
		}
	}
}
