# shellcheck shell=bash
# How Packer is run here: with the two plugins built in this repository, offline.
# To be read by a script that has fail and say.

export PACKER_PLUGIN_PATH=$PWD/.cache/plugins PACKER_CONFIG_DIR=$PWD/.cache/packer CHECKPOINT_DISABLE=1
export PACKER_CACHE_DIR=$PWD/.cache/packer

# install_plugins puts the plugins where Packer looks for them.
install_plugins() {
	local answer key
	mkdir -p "$PACKER_CONFIG_DIR"
	key=$(sha256sum dist/packer-plugin-redoubt .cache/tools/packer-plugin-qemu)
	[ "$(cat "$PACKER_PLUGIN_PATH/key" 2>/dev/null)" != "$key" ] || return 0
	rm -rf "$PACKER_PLUGIN_PATH"
	answer=$(.cache/tools/packer plugins install --path dist/packer-plugin-redoubt github.com/redoubt-registry/redoubt 2>&1) ||
		fail "cannot install our plugin for Packer: $answer"
	answer=$(.cache/tools/packer plugins install --path .cache/tools/packer-plugin-qemu github.com/hashicorp/qemu 2>&1) ||
		fail "cannot install the QEMU plugin for Packer: $answer"
	echo "$key" >"$PACKER_PLUGIN_PATH/key"
}

# run_packer ARGS…: says each of its steps with the seconds since the start, and
# its error as one line. An interrupt is Packer's to handle: it cleans up, and
# then this fails.
run_packer() {
	local line pid status log interrupted=
	log=.cache/$(basename "$0").log
	trap 'interrupted=1; kill -INT "$pid" 2>/dev/null' INT TERM HUP
	exec 3< <(exec .cache/tools/packer "$1" -color=false "${@:2}" 2>&1)
	pid=$!
	: >"$log"
	while :; do
		# A signal ends read with a status above 128, the end of input with 1.
		status=0
		IFS= read -r line <&3 || status=$?
		[ "$status" -le 128 ] || continue
		[ "$status" -eq 0 ] || break
		printf '%s\n' "$line" >>"$log"
		case $line in
		'==> '*[Ee]rror* | '==> Wait completed'* | '==> Builds finished'* | '==> Some builds'*) ;;
		'==> '*': '*) say "${line#*: }" ;;
		'    '*': '*) [ "$1" = validate ] || say "  ${line#*: }" ;;
		esac
	done
	exec 3<&-
	status=0
	wait "$pid" || status=$?
	trap - INT TERM HUP
	[ -z "$interrupted" ] || fail "interrupted; what was half made is removed"
	[ "$status" -eq 0 ] || fail "$(packer_error "$log"). All that Packer said is in $log"
}

# packer_error LOG: the cause in it, on one line. What a template or the Butane
# file has wrong comes before any step, broken into lines of a terminal's width.
packer_error() {
	if grep -q '^Error: ' "$1"; then
		sed -E '/^Error: Failed preparing/d; /^  on .* line [0-9]+:$/d; /source code not available/d' "$1" |
			tr -s ' \n' ' ' | sed 's/^ //; s/ $//'
	else
		grep -m 1 -oE "cannot .*" "$1" || tail -n 1 "$1"
	fi
}
