# pvebot off the cluster; docs/operating.md says how to run it:
#
#   docker build --build-arg VERSION=$(deploy/release --version) -t pvebot .
#
# One static binary, no shell, not root. (The demo wants a real /bin/sh: run it
# with go run ./cmd/bot demo.)

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && go mod verify
COPY . .
ARG VERSION=
ARG TARGETARCH=
RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X main.version=${VERSION}" -o /out/bot ./cmd/bot \
 && mkdir -p /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/bot /bot
COPY --from=build --chown=65532:65532 /out/data /data
COPY LICENSE /LICENSE
ENV STORE_URL=sqlite:/data \
    SSH_KEY=/run/secrets/ssh_key \
    SSH_KNOWN_HOSTS=/data/known_hosts \
    LOG_FORMAT=json
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["/bot", "health", "--live"]
ENTRYPOINT ["/bot"]
CMD ["serve"]
