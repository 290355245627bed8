# Names for plain go commands. Whoever has no make can copy the lines.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME    = 10s

.PHONY: demo test check lint fuzz lab vuln bench pictures nightly build release package clean

demo: ## the simulated cluster with its chat page
	go run ./cmd/bot demo

test:
	go test ./...

check: ## what a change has to pass; CI runs .ci/run, which does more
	test -z "$$(gofmt -l .)"
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -race ./...

lint: ## slow at first: it builds golangci-lint
	go run $(GOLANGCI) run ./...

fuzz: ## every fuzz target, each for FUZZTIME: make fuzz FUZZTIME=1m
	.ci/fuzz $(FUZZTIME)

vuln: ## known holes in what we call, ours and the libraries'; asks vuln.go.dev
	go run $(GOVULNCHECK) ./...

bench: ## writes docs/performance.md; seven minutes, on a machine that does nothing else
	FSYNC=on .ci/postgres sh -c 'go run ./cmd/bot bench --full --postgres "$$TEST_POSTGRES_URL" --write docs/performance.md'

nightly: ## what takes hours: every border of every step on both stores, connections that break, and fuzzing
	.ci/torture 200 1000
	.ci/soak 10m
	.ci/fuzz 10m

lab: ## a real guest in QEMU behind the simulated cluster: docs/lab.md
	PVEBOT_LAB=$(CURDIR)/dist/lab go test -count=1 -v -timeout 3h -run '^TestLab$$' ./provision

pictures: ## of the page, for the documents; by the browser test
	dir=$$(mktemp -d) && \
	WEB_SCREENSHOTS=$$dir go test -count=1 ./bot/web -run '^TestBrowser$$|^TestBrowserPhone$$' && \
	cp $$dir/running-light.png docs/chat.png && cp $$dir/done-dark.png docs/page-dark.png && cp $$dir/phone-light.png docs/page-phone.png

build: ## one static file
	CGO_ENABLED=0 go build -trimpath -o dist/bot ./cmd/bot

release: ## .deb, .tar.gz and checksums in dist/VERSION
	deploy/release

package: ## builds them twice and checks everything that people install
	.ci/package

clean:
	rm -rf dist
