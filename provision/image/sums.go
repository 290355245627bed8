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
// "SHA256 (name) = <hex>" (BSD), with or without ./ before the name. A file that has
// nothing but one checksum is about the file beside it. Lines of other algorithms
// are passed over.
func Checksum(sums []byte, file, algorithm string) (string, error) {
	text, err := textfile.Decode(sums)
	if err != nil {
		return "", fmt.Errorf("the checksum file: %w", err)
	}
	var alone []string // checksums without a name
	lines := 0
	for _, line := range textfile.Lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		lines++
		sum, name := sumLine(line, algorithm)
		switch {
		case !isSum(sum, algorithm):
		case name == "":
			alone = append(alone, sum)
		case strings.TrimPrefix(name, "./") == file:
			return strings.ToLower(sum), nil
		}
	}
	if lines == 1 && len(alone) == 1 {
		return strings.ToLower(alone[0]), nil
	}
	return "", fmt.Errorf("the checksum file has no %s line for %s", algorithm, file)
}

// sumLine takes a line of a checksum file apart: the checksum, "" where it is of
// another algorithm, and the name, "" without one.
func sumLine(line, algorithm string) (sum, name string) {
	if before, sum, ok := strings.Cut(line, ") = "); ok {
		kind, name, ok := strings.Cut(before, " (")
		if !ok || !strings.EqualFold(kind, algorithm) {
			return "", ""
		}
		return strings.TrimSpace(sum), name
	}
	sum, name, _ = strings.Cut(line, " ")
	return sum, strings.TrimPrefix(strings.TrimSpace(name), "*")
}

// isSum reports whether s is a checksum of that algorithm in hexadecimal.
func isSum(s, algorithm string) bool {
	return len(s) == sumLength[algorithm] && s != "" && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}
