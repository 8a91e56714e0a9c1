# shellcheck shell=bash
# How Packer is run here: with the two plugins built in this repository, offline.
# To be read by a script that has fail and say.

export PACKER_PLUGIN_PATH=$PWD/.cache/plugins PACKER_CONFIG_DIR=$PWD/.cache/packer CHECKPOINT_DISABLE=1
export PACKER_CACHE_DIR=$PWD/.cache/packer

# install_plugins puts the plugins where Packer looks for them.
install_plugins() {
	rm -rf "$PACKER_PLUGIN_PATH"
	mkdir -p "$PACKER_CONFIG_DIR"
	local answer
	answer=$(.cache/tools/packer plugins install --path dist/packer-plugin-redoubt github.com/redoubt-registry/redoubt 2>&1) ||
		fail "cannot install our plugin for Packer: $answer"
	answer=$(.cache/tools/packer plugins install --path .cache/tools/packer-plugin-qemu github.com/hashicorp/qemu 2>&1) ||
		fail "cannot install the QEMU plugin for Packer: $answer"
}

# run_packer ARGS…: says each of its steps with the seconds since the start, and
# its error as one line.
run_packer() {
	local line status=0 log=$PACKER_CONFIG_DIR/log
	: >"$log"
	while IFS= read -r line; do
		printf '%s\n' "$line" >>"$log"
		case $line in
		'==> '*[Ee]rror*) ;;
		'==> Wait completed'* | '==> Builds finished'* | '==> Some builds'*) ;;
		'==> '*': '*) say "${line#*: }" ;;
		'    '*': from the cache') say "  from the cache" ;;
		esac
	done < <(.cache/tools/packer "$1" -color=false "${@:2}" 2>&1; echo "status $?")
	[ "$(tail -n 1 "$log")" = "status 0" ] || status=1
	[ "$status" -eq 0 ] || fail "$(packer_error "$log"). All that Packer said is in $log"
}

# packer_error LOG: the cause in it, on one line.
packer_error() {
	grep -m 1 -oE "(cannot|could not) .*" "$1" ||
		grep -m 1 -E "Error" "$1" ||
		tail -n 2 "$1" | head -n 1
}
