package access

import (
	"net/http"

	"pvebot/provision"
)

// StatusOf is the HTTP status of an error of kind k, once for all handlers: 500
// where no other is known.
func StatusOf(k provision.Kind) int {
	if status, ok := statuses[k]; ok {
		return status
	}
	return http.StatusInternalServerError
}

var statuses = map[provision.Kind]int{
	provision.Invalid:     http.StatusBadRequest,
	provision.NotFound:    http.StatusNotFound,
	provision.Denied:      http.StatusForbidden,
	provision.Conflict:    http.StatusConflict,
	provision.Busy:        http.StatusConflict,
	provision.Full:        http.StatusInsufficientStorage,
	provision.Unavailable: http.StatusServiceUnavailable,
	provision.Failed:      http.StatusBadGateway,
	provision.Cancelled:   http.StatusConflict,
	provision.Internal:    http.StatusInternalServerError,
}
