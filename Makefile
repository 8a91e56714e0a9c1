# One line a target: what each does is in scripts/.
.PHONY: help bootstrap up pebble bucket down tools build image test test-quick test-unit test-conformance test-faults test-fuzz test-race test-machine test-power test-build test-image bench lint clean
MAKEFLAGS += --no-print-directory

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 18
bootstrap: ## installs the Debian packages that the rest needs
	@scripts/bootstrap
up: ## boots the image in QEMU and says how to log in (USER_DATA=file, PORT=8443)
	@scripts/up
down: ## stops that machine and keeps its images
	@scripts/down
pebble: ## runs an ACME CA for tests on the loopback, for a machine of make up (HTTP_PORT=8080)
	@scripts/pebble
bucket: ## runs an S3-compatible store on the loopback, for a machine of make up
	@scripts/bucket
tools: ## builds Packer, and what the tests run (MinIO, versitygw, Pebble, the OCI suite), in .cache/tools
	@scripts/tools
build: ## dist/redoubt and dist/packer-plugin-redoubt
	@scripts/build
image: ## dist/redoubt-VERSION-amd64.qcow2
	@scripts/image
test: ## all the tests below but quick, side by side, fuzz and race in a short form
	@scripts/test
test-quick: ## what needs nothing but Go: no root, no server; under a minute
	@scripts/test quick
test-unit: ## the code, with Redis, MinIO, versitygw and Pebble
	@scripts/test unit
test-conformance: ## the OCI conformance suite, on a directory and on a bucket
	@scripts/test conformance
test-faults: ## storage that is killed, frozen, slow or full, with clients at work
	@scripts/test faults
test-fuzz: ## what takes outside bytes, 30 s each (FUZZTIME=30s)
	@scripts/test fuzz
test-race: ## the agent under the race detector
	@scripts/test race
test-machine: ## the image's root under systemd-nspawn
	@scripts/test machine
test-power: ## the power cut while certificates are published
	@scripts/test power
test-build: ## the image, built twice
	@scripts/test build
test-image: ## the image in QEMU, and real clients
	@scripts/test image
bench: ## beside the stock registry and zot (ZOT=CHECKOUT): writes docs/performance.md (BENCH=s3, BENCH=local: a part)
	@scripts/bench
lint: ## gofmt, vet, staticcheck, govulncheck, shellcheck
	@scripts/lint
clean: ## removes dist, the caches and the machine of make up
	@scripts/clean
