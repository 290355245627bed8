package image

import (
	"fmt"
	"strings"

	"pvebot/cluster/textfile"
)

// sumLength is how many hexadecimal digits a checksum has.
var sumLength = map[string]int{"sha256": 64, "sha512": 128}

// Checksum finds the line for file in a checksum file such as SHA256SUMS,
// SHA512SUMS or CHECKSUM: "<hex>  name" or "<hex> *name" (GNU coreutils), or
// "SHA256 (name) = <hex>" (BSD). Lines of other algorithms are passed over.
func Checksum(sums []byte, file, algorithm string) (string, error) {
	text, err := textfile.Decode(sums)
	if err != nil {
		return "", fmt.Errorf("the checksum file: %w", err)
	}
	for _, line := range textfile.Lines(text) {
		if name, sum, ok := strings.Cut(line, ") = "); ok {
			kind, name, ok := strings.Cut(name, " (")
			if ok && strings.EqualFold(kind, algorithm) && name == file && isSum(sum, algorithm) {
				return strings.ToLower(sum), nil
			}
			continue
		}
		sum, name, ok := strings.Cut(line, " ")
		if name = strings.TrimPrefix(strings.TrimSpace(name), "*"); ok && name == file && isSum(sum, algorithm) {
			return strings.ToLower(sum), nil
		}
	}
	return "", fmt.Errorf("the checksum file has no %s line for %s", algorithm, file)
}

// isSum reports whether s is a checksum of that algorithm in hexadecimal.
func isSum(s, algorithm string) bool {
	return len(s) == sumLength[algorithm] && s != "" && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}
