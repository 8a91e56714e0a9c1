# shellcheck shell=bash
# Finds Go, and makes it the version that go.mod names: a machine whose settings
# say GOTOOLCHAIN=local would pass over that line and build with known holes.
# To be read by a script, in the top directory of the repository.

command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
# What is built once serves all: the same flags everywhere, so that the programs,
# the tools and the tests share what the compiler made.
GOFLAGS="${GOFLAGS:+$GOFLAGS }-trimpath -buildvcs=false" CGO_ENABLED=0
export GOTOOLCHAIN GOFLAGS CGO_ENABLED

# The build tags of the tests that need more than Go, a tag for each tier.
# shellcheck disable=SC2034 # who reads this file uses it
tier_tags=integration,conformance,faults,machine,power,build,image

# check_toolchain: the Go that builds is no older than the one that go.mod names.
check_toolchain() {
	local have
	have=$(go env GOVERSION) || {
		echo "redoubt: cannot get Go ${GOTOOLCHAIN#go}: the module proxy is needed once, see above" >&2
		return 1
	}
	[ "$(printf '%s\n' "$GOTOOLCHAIN" "$have" | sort -V | head -n 1)" = "$GOTOOLCHAIN" ] && return
	echo "redoubt: cannot build with $have: it has known holes. Install ${GOTOOLCHAIN#go} or newer from https://go.dev/dl/" >&2
	return 1
}
