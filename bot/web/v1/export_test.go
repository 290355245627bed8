package v1

// Routes are METHOD path of all routes of a.
func Routes(a *API) []string {
	var all []string
	for _, r := range a.routes() {
		all = append(all, r.method+" "+r.path)
	}
	return all
}
